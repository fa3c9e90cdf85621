/** The first step of a distribution guest's boot: a shell, a few drivers, and the way to the root disk. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ShadowferryError } from '../../../errors.ts';
import { type CpioEntry, cpioArchive } from '../cpio.ts';
import { moduleClosure } from '../resolve.ts';
import { completeTree } from '../root.ts';
import { BOOT_MODULES } from './recipe.ts';

/**
 * Paths of modules in the order in which they can be loaded one by one: what a module needs comes before it.
 * @param modulesDep text of `modules.dep`, whose lists name what is to be loaded first last
 */
export function loadOrder(
  modulesDep: string,
  names: readonly string[],
): { paths: string[]; unknown: string[] } {
  const needs = new Map(
    modulesDep.split('\n').flatMap((line): [string, string[]][] => {
      const [path, list] = line.split(':');
      return path && list !== undefined ? [[path, list.split(' ').filter(Boolean)]] : [];
    }),
  );
  const { paths, unknown } = moduleClosure(modulesDep, names);
  const ordered = new Set<string>();
  for (const path of paths) {
    for (const need of (needs.get(path) ?? []).toReversed()) ordered.add(need);
    ordered.add(path);
  }
  return { paths: [...ordered], unknown };
}

export interface InitrdOptions {
  /** A static busybox. */
  busybox: string;
  /** Directory of the kernel's modules, the one that holds `modules.dep`. */
  modules: string;
  /** Text of /init. */
  init: Uint8Array;
}

/**
 * Writes the archive. Modules that are built into the kernel are not missed.
 * @throws ShadowferryError INTERNAL when the kernel has none of the modules that are needed to find the disk.
 */
export async function distroInitrd({ busybox, modules, init }: InitrdOptions): Promise<Uint8Array> {
  const dep = await readFile(join(modules, 'modules.dep'), 'utf8');
  const { paths } = loadOrder(dep, BOOT_MODULES);
  if (paths.length === 0) {
    throw new ShadowferryError('INTERNAL', { why: `${modules} holds no module that the boot needs` });
  }
  const file = async (path: string): Promise<CpioEntry> => {
    const content = await readFile(join(modules, path));
    return { type: 'file', path: `modules/${path.replaceAll('/', '_')}`, mode: 0o644, content };
  };
  const order = paths.map((path) => `${path.replaceAll('/', '_')}\n`).join('');
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'sys', 'root'].map((path): CpioEntry => ({ type: 'directory', path })),
    { type: 'node', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { type: 'node', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
    { type: 'file', path: 'bin/busybox', mode: 0o755, content: await readFile(busybox) },
    { type: 'file', path: 'init', mode: 0o755, content: init },
    { type: 'file', path: 'modules/order', mode: 0o644, content: Buffer.from(order) },
    ...(await Promise.all(paths.map(file))),
  ];
  return Buffer.concat(cpioArchive(completeTree(entries)));
}
