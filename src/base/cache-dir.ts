import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** The checkout that this source runs from; undefined for the installed package, which holds compiled code. */
function checkout(): string | undefined {
  return import.meta.filename.endsWith('.ts') ? dirname(dirname(import.meta.dirname)) : undefined;
}

/**
 * Directory for what can be made again (guest images, probe results): `SHADOWFERRY_CACHE`, else `.cache` in the
 * checkout, else the user's cache directory. May not exist yet.
 */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.SHADOWFERRY_CACHE) return env.SHADOWFERRY_CACHE;
  const root = checkout();
  if (root !== undefined) return join(root, '.cache');
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'shadowferry');
}
