/** Files that are whole or not there, and private files that nobody else could have written. */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { reasonOf, ShadowferryError } from '../errors.ts';

/** The system's code of an error (`ENOENT`); undefined where it has none. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/**
 * Writes a file so that after a crash it is the old one or the new one, on disk when this returns.
 * @param mode permissions of the file
 * @param over `refuse`: a file that is there already is left as it is
 * @throws FILE_EXISTS
 */
export function writeWhole(path: string, text: string, mode: number, over: 'replace' | 'refuse'): void {
  const whole = `${path}.${process.pid}.new`;
  // 'wx': a link that somebody put there is not followed
  rmSync(whole, { force: true });
  const file = openSync(whole, 'wx', mode);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
    closeSync(file);
    if (over === 'replace') renameSync(whole, path);
    else linkSync(whole, path);
    syncDirectory(dirname(path));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST')
      throw new ShadowferryError('FILE_EXISTS', { file: path }, { cause: error });
    throw error;
  } finally {
    rmSync(whole, { force: true });
  }
}

/** Why a file is not to be trusted; undefined when only its owner, who is us or root, can write it. */
function unsafety(stats: Stats, secret: boolean): string | undefined {
  const us = process.geteuid?.() ?? 0;
  if (!stats.isFile()) return 'it is no regular file';
  if (stats.uid !== us && stats.uid !== 0) return `it belongs to user ${stats.uid}`;
  if ((stats.mode & 0o022) !== 0) return 'others may write it';
  if (secret && (stats.mode & 0o004) !== 0) return 'everybody may read it';
  return undefined;
}

/**
 * Reads a file that decides over rights.
 * @param secret whether nobody else may read it either (its group may)
 * @throws FILE_UNSAFE when somebody else could have written it; what the system says when it cannot be read
 */
export function readTrusted(path: string, secret = false): string {
  const file = openSync(path, 'r');
  try {
    const why = unsafety(fstatSync(file), secret);
    if (why !== undefined) throw new ShadowferryError('FILE_UNSAFE', { file: path, why });
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** `readTrusted`, with an error of the catalogue when the file cannot be read. @throws FILE_UNSAFE */
export function readNeeded(path: string, secret = false): string {
  try {
    return readTrusted(path, secret);
  } catch (error) {
    if (error instanceof ShadowferryError) throw error;
    throw new ShadowferryError('FILE_UNSAFE', { file: path, why: reasonOf(error) }, { cause: error });
  }
}
