/**
 * Unpacked Debian packages that this machine has not installed: where their files are, and how their programs
 * run here, with their own loader and libraries.
 */
import { access, lstat, mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';

/** Where Debian keeps the libraries of this architecture, below the root. */
export const LIBRARY_DIRECTORY = 'usr/lib/x86_64-linux-gnu';
export const LOADER = 'ld-linux-x86-64.so.2';

/** A tree of unpacked packages with all of /bin, /sbin and /lib below /usr. */
export interface Stage {
  path: string;
  signal: AbortSignal | undefined;
}

/** Unpacks every package of `packages` (a directory of .deb files), without running what the packages would run. */
export async function unpackStage(
  packages: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Stage> {
  await mkdir(path, { recursive: true });
  for (const name of (await readdir(packages)).filter((file) => file.endsWith('.deb')).sort()) {
    await exec(['dpkg-deb', '-x', join(packages, name), path], signal === undefined ? {} : { signal });
  }
  // Packages of Debian 12 hold /bin and /lib, later ones /usr/bin and /usr/lib: one place for both.
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mergeDirectory(join(path, name), join(path, 'usr', name));
  }
  return { path, signal };
}

/** Moves what is in directory `from` into directory `to`, and removes `from`; nothing when there is no `from`. */
async function mergeDirectory(from: string, to: string): Promise<void> {
  const isDirectory = async (path: string) => (await lstat(path).catch(() => undefined))?.isDirectory();
  if (!(await isDirectory(from))) return;
  await mkdir(to, { recursive: true });
  for (const name of await readdir(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if ((await isDirectory(source)) && (await isDirectory(target))) await mergeDirectory(source, target);
    else await rename(source, target);
  }
  await rmdir(from);
}

/** Whether there is anything at `path`. */
export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Path of a program of the stage. */
export async function stagedProgram(stage: Stage, name: string): Promise<string> {
  for (const directory of ['usr/bin', 'usr/sbin']) {
    const path = join(stage.path, directory, name);
    if (await exists(path)) return path;
  }
  throw new ShadowferryError('INTERNAL', { why: `no package of the guest image holds the program ${name}` });
}

/**
 * Runs a dynamically linked program of the stage; resolves to its output.
 * @param loaderOptions options for the loader, before the program
 */
export async function runStaged(
  stage: Stage,
  program: string,
  args: readonly string[],
  loaderOptions: readonly string[] = [],
): Promise<string> {
  const libraries = join(stage.path, LIBRARY_DIRECTORY);
  const loader = join(libraries, LOADER);
  const { stdout } = await exec(
    [loader, '--inhibit-cache', '--library-path', libraries, ...loaderOptions, program, ...args],
    {
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      ...(stage.signal === undefined ? {} : { signal: stage.signal }),
    },
  );
  return stdout;
}
