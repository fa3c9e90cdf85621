import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Debian leaves these out of an ordinary user's PATH, and `ip` and `tc` live there. */
const SYSTEM_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** A PATH with the directories of system programs behind the user's own. */
export function pathWithSystemDirectories(path: string): string {
  const directories = path.split(delimiter).filter(Boolean);
  return [...new Set([...directories, ...SYSTEM_DIRECTORIES])].join(delimiter);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * The path of a program: a name is looked for on the PATH and then where system programs are; a name with a slash
 * is a path already. Undefined when there is no such program.
 */
export function findProgram(name: string, path: string = process.env.PATH ?? ''): string | undefined {
  if (name.includes('/')) return isProgram(name) ? name : undefined;
  return pathWithSystemDirectories(path)
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find(isProgram);
}
