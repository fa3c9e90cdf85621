/** Directories that are either whole or absent, whoever else builds them and however a builder ended. */
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ShadowferryError } from '../../errors.ts';

const PREFIX = '.building-';

/** Start time of a process in clock ticks since boot, or undefined when there is no such process. */
async function startTime(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // the program's name may hold spaces and parentheses: count from its end
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/**
 * Makes a directory of the cache, with its parents.
 * @throws ShadowferryError RIGHTS_MISSING when this user may not.
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error;
    throw new ShadowferryError(
      'RIGHTS_MISSING',
      { what: `writing to ${path}`, command: 'Choose a cache directory that this user may write to.' },
      { cause: error },
    );
  }
}

/**
 * A new empty directory in `parent` to build in; removes those of builders that ended without cleaning up.
 * Its name holds the builder's process id and start time, so a living builder is never mistaken for a dead one.
 */
export async function buildDirectory(parent: string): Promise<string> {
  await removeLeftovers(parent);
  return mkdtemp(join(parent, `${PREFIX}${process.pid}-${await startTime(process.pid)}-`));
}

async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const match = /^\.building-(\d+)-(\d+)-/.exec(name);
    if (!match) continue;
    const alive = (await startTime(Number(match[1]))) === match[2];
    if (!alive) await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** Gives a finished directory its name. When another builder was first, that one stays: both hold the same. */
export async function publish(finished: string, target: string): Promise<void> {
  try {
    await rename(finished, target);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}

/** Removes all but the `kept` finished directories of `parent` that were made last. */
export async function removeOlder(parent: string, kept: number): Promise<void> {
  const finished = (await readdir(parent)).filter((name) => !name.startsWith(PREFIX));
  const made = finished.map(async (name) => {
    const path = join(parent, name);
    return { path, time: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0 };
  });
  const newestFirst = (await Promise.all(made)).sort((a, b) => b.time - a.time);
  for (const { path } of newestFirst.slice(kept)) await rm(path, { recursive: true, force: true });
}
