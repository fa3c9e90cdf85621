/**
 * The part of the guest image that comes from Debian: kernel, programs, libraries and modules, chosen from
 * unpacked packages. Kept in the cache, so that a change of the guest's own files does not fetch anything.
 */
import { createHash } from 'node:crypto';
import { copyFile, cp, mkdir, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';
import { downloadPackages } from './apt.ts';
import { buildDirectory, makeDirectory, publish, removeOlder } from './cache.ts';
import { plainKernel } from './kernel.ts';
import {
  BUILD_PACKAGES,
  BUILDER_VERSION,
  DATA_DIRECTORIES,
  KERNEL_PACKAGE,
  MODULES,
  PACKAGES,
  PROGRAMS,
  STATIC_PROGRAMS,
} from './recipe.ts';
import { choosePackages, moduleClosure, parseLibraries } from './resolve.ts';
import {
  exists,
  LIBRARY_DIRECTORY,
  LOADER,
  runStaged,
  type Stage,
  stagedProgram,
  unpackStage,
} from './stage.ts';

const Manifest = z.object({
  kernelVersion: z.string(),
  packages: z.record(z.string(), z.string()),
  applets: z.array(z.string()),
});

export type BaseManifest = z.infer<typeof Manifest>;

export interface Base {
  /** Identity of what was asked for; the manifest says what was got. */
  recipe: string;
  /** Directory with the guest's files that come from packages. */
  root: string;
  /** Path of the kernel. */
  kernel: string;
  manifest: BaseManifest;
}

/** Trees of earlier recipes that stay, so that going back to an older checkout does not fetch again. */
const BASES_KEPT = 2;

export interface BuildOptions {
  cacheDir: string;
  log: (line: string) => void;
  signal: AbortSignal | undefined;
}

function recipeId(): string {
  const recipe = [
    BUILDER_VERSION,
    KERNEL_PACKAGE,
    PACKAGES,
    PROGRAMS,
    DATA_DIRECTORIES,
    MODULES,
    BUILD_PACKAGES,
  ];
  return createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16);
}

async function openBase(directory: string): Promise<Base | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, 'manifest.json'), 'utf8');
  } catch {
    return undefined;
  }
  return {
    recipe: basename(directory),
    root: join(directory, 'root'),
    kernel: join(directory, 'vmlinux'),
    manifest: Manifest.parse(JSON.parse(text)),
  };
}

function requireMachine(): void {
  if (process.platform === 'linux' && process.arch === 'x64') return;
  throw new ShadowferryError('TOOL_MISSING', {
    tool: 'an x86-64 Linux',
    install: `The lab's guest is built from x86-64 packages; this machine is ${process.platform} on ${process.arch}.`,
  });
}

/** The Debian part of the image: from the cache, or built. */
export async function ensureBase(options: BuildOptions): Promise<Base> {
  const target = join(options.cacheDir, 'base', recipeId());
  const cached = await openBase(target);
  if (cached) return cached;
  requireMachine();
  await makeDirectory(dirname(target));
  const work = await buildDirectory(dirname(target));
  try {
    await buildBase(work, options);
    await publish(join(work, 'result'), target);
    await removeOlder(dirname(target), BASES_KEPT);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const built = await openBase(target);
  if (!built) throw new ShadowferryError('INTERNAL', { why: `${target} has no manifest after its build` });
  return built;
}

async function buildBase(work: string, { log, signal }: BuildOptions): Promise<void> {
  const packagesDir = join(work, 'packages');
  const result = join(work, 'result');
  const root = join(result, 'root');

  const chosen = await downloadPackages(
    [KERNEL_PACKAGE, ...PACKAGES, ...BUILD_PACKAGES],
    (closure) => choosePackages(closure, [...PACKAGES, ...BUILD_PACKAGES]),
    packagesDir,
    { ownLists: join(work, 'apt-lists'), log, signal },
  );
  log(`unpacking ${chosen.length} packages`);
  const stage = await unpackStage(packagesDir, join(work, 'stage'), signal);

  const kernelVersion = (await readdir(join(stage.path, 'usr/lib/modules')))[0];
  if (!kernelVersion) throw new ShadowferryError('INTERNAL', { why: 'the kernel package holds no modules' });
  log('choosing programs, libraries and modules');
  await copyPrograms(stage, root);
  for (const directory of DATA_DIRECTORIES) {
    if (!(await exists(join(stage.path, directory)))) continue;
    await cp(join(stage.path, directory), join(root, directory), { recursive: true, verbatimSymlinks: true });
  }
  await copyModules(stage, root, kernelVersion, log);
  await writeKernel(stage, result, kernelVersion);

  const manifest: BaseManifest = {
    kernelVersion,
    packages: Object.fromEntries(chosen.map(({ name, version }) => [name, version])),
    applets: await listApplets(stage),
  };
  // The manifest comes last: a tree that has one is whole.
  await writeFile(join(result, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

async function writeKernel(stage: Stage, result: string, kernelVersion: string): Promise<void> {
  const compressed = await readFile(join(stage.path, 'boot', `vmlinuz-${kernelVersion}`));
  const xz = await stagedProgram(stage, 'xz');
  const plain = await plainKernel(compressed, async (packed) => {
    const from = join(result, 'kernel.xz');
    await writeFile(from, packed);
    await runStaged(stage, xz, ['--decompress', from]);
    const unpacked = await readFile(join(result, 'kernel'));
    await rm(join(result, 'kernel'));
    return unpacked;
  });
  await writeFile(join(result, 'vmlinux'), plain);
}

async function copyPrograms(stage: Stage, root: string): Promise<void> {
  await mkdir(join(root, 'usr/bin'), { recursive: true });
  await mkdir(join(root, LIBRARY_DIRECTORY), { recursive: true });
  const libraries = new Map([[LOADER, join(stage.path, LIBRARY_DIRECTORY, LOADER)]]);
  for (const name of PROGRAMS) {
    const program = await stagedProgram(stage, name);
    await copyFile(program, join(root, 'usr/bin', name));
    if (STATIC_PROGRAMS.has(name)) continue;
    const { found, missing } = parseLibraries(await runStaged(stage, program, [], ['--list']));
    found.delete(LOADER);
    // A library of this machine may be of another release: the guest must not depend on who built it.
    const outside = [...found].filter(([, file]) => !file.startsWith(`${stage.path}/`));
    const lacking = [...missing, ...outside.map(([library]) => library)];
    if (lacking.length > 0) {
      const why = `${name} needs ${lacking.join(', ')}, which no chosen package holds`;
      throw new ShadowferryError('INTERNAL', { why });
    }
    for (const [library, file] of found) libraries.set(library, file);
  }
  for (const [library, file] of libraries) {
    await copyFile(await realpath(file), join(root, LIBRARY_DIRECTORY, library));
  }
}

async function copyModules(
  stage: Stage,
  root: string,
  kernelVersion: string,
  log: (line: string) => void,
): Promise<void> {
  const kmod = await stagedProgram(stage, 'kmod');
  const depmod = (base: string) =>
    // kmod does what the name says by which it is called
    runStaged(stage, kmod, ['-b', base, kernelVersion], ['--argv0', 'depmod']);
  const from = join(stage.path, 'usr/lib/modules', kernelVersion);
  const to = join(root, 'usr/lib/modules', kernelVersion);
  await depmod(join(stage.path, 'usr'));
  const { paths, unknown } = moduleClosure(await readFile(join(from, 'modules.dep'), 'utf8'), MODULES);
  if (unknown.length > 0) log(`not modules of ${kernelVersion}: ${unknown.join(', ')}`);
  for (const path of paths) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await copyFile(join(from, path), join(to, path));
  }
  for (const name of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) {
    await copyFile(join(from, name), join(to, name));
  }
  await depmod(join(root, 'usr'));
}

async function listApplets(stage: Stage): Promise<string[]> {
  const { stdout } = await exec(
    [await stagedProgram(stage, 'busybox'), '--list'],
    stage.signal === undefined ? {} : { signal: stage.signal },
  );
  return stdout.split('\n').filter((applet) => applet !== '');
}
