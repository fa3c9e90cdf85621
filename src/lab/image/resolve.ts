/** Reading what apt, ld.so, busybox and depmod say: pure text to values. */

/** A package at one version. */
export interface PackageVersion {
  name: string;
  version: string;
}

/** The packages that `apt-get --simulate install` would install, in apt's order. */
export function parseSimulation(text: string): PackageVersion[] {
  const found: PackageVersion[] = [];
  for (const line of text.split('\n')) {
    const match = /^Inst (\S+?)(?::\w+)? (?:\[[^\]]*\] )?\((\S+) /.exec(line);
    if (match?.[1] && match[2]) found.push({ name: match[1], version: match[2] });
  }
  return found;
}

/**
 * The packages of a closure that hold something the guest needs: those asked for, the kernel, and libraries.
 * What the others do (configure a full Debian) is not done here.
 */
export function choosePackages(
  closure: readonly PackageVersion[],
  wanted: readonly string[],
): PackageVersion[] {
  return closure.filter(
    ({ name }) => /^(lib|zlib)/.test(name) || /^linux-image-\d/.test(name) || wanted.includes(name),
  );
}

/** Libraries of a program from `ld.so --list`: name to path, and the names that were not found. */
export function parseLibraries(text: string): { found: Map<string, string>; missing: string[] } {
  const found = new Map<string, string>();
  const missing: string[] = [];
  for (const line of text.split('\n')) {
    const absent = /^\s*(\S+) => not found/.exec(line);
    if (absent?.[1]) missing.push(absent[1]);
    const present = /^\s*(\S+) => (\/\S+) \(0x/.exec(line);
    if (present?.[1] && present[2]) found.set(present[1].replace(/^.*\//, ''), present[2]);
  }
  return { found, missing };
}

/** A module's name as the kernel spells it: no directory, no `.ko`, underscores. */
export function moduleName(path: string): string {
  return path
    .replace(/^.*\//, '')
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

/**
 * Paths (as in modules.dep) of the named modules and of all they depend on, sorted; names that the kernel does not
 * have as modules are listed apart (they may be built in).
 */
export function moduleClosure(
  modulesDep: string,
  names: readonly string[],
): { paths: string[]; unknown: string[] } {
  const byName = new Map<string, { path: string; needs: string[] }>();
  for (const line of modulesDep.split('\n')) {
    const [path, needs] = line.split(':');
    if (!path || needs === undefined) continue;
    byName.set(moduleName(path), { path, needs: needs.split(' ').filter(Boolean) });
  }
  const paths = new Set<string>();
  const unknown: string[] = [];
  for (const name of names) {
    const entry = byName.get(moduleName(name));
    if (!entry) {
      unknown.push(name);
      continue;
    }
    // modules.dep lists the whole closure of each module already
    paths.add(entry.path);
    for (const need of entry.needs) paths.add(need);
  }
  return { paths: [...paths].sort(), unknown };
}
