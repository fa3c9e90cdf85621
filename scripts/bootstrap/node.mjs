/** The Node that runs the TypeScript: the pinned one from node_modules, else the running one if it is new enough. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { BootstrapError } from './messages.mjs';

/** The first Node whose type stripping needs no flag and which this project is written for. */
export const OLDEST_MAJOR = 24;

/**
 * @param {string} version such as `v24.21.0`
 */
export function newEnough(version) {
  const major = /^v?(\d+)\./.exec(version);
  return major !== null && Number(major[1]) >= OLDEST_MAJOR;
}

/** @param {string} path */
function versionOf(path) {
  const result = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/**
 * The path of the Node to use.
 * @param {string} root the checkout
 * @param {(path: string) => string | undefined} [askVersion] replaced by tests
 * @throws {BootstrapError} when neither Node will do
 */
export function chooseNode(root, askVersion = versionOf) {
  const pinned = join(root, 'node_modules/.bin/node');
  const version = askVersion(pinned); // it is really run: a glibc binary does not start on musl, say
  if (version !== undefined && newEnough(version)) return pinned;
  if (newEnough(process.version)) return process.execPath;
  throw new BootstrapError(
    `there is no Node ${OLDEST_MAJOR} here: the packaged one does not run on ${process.platform}-${process.arch}, and this is ${process.version}`,
    `Install Node ${OLDEST_MAJOR} or newer (https://nodejs.org) and run the command again.`,
  );
}
