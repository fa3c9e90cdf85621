/**
 * The npm packages: are they those of package-lock.json, and if not, `npm ci`.
 * A stamp in node_modules holds the hash of the lock file they were installed from, so the usual run costs one
 * hash. Packages that the user installed with npm are recognised by npm's own record and get a stamp too.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { BootstrapError, say } from './messages.mjs';

const STAMP = 'node_modules/.shadowferry-lock';

/** @param {string} path */
function readOr(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** @param {string} root */
function wantedStamp(root) {
  const lock = readFileSync(join(root, 'package-lock.json'));
  return `${process.platform}-${process.arch} ${createHash('sha256').update(lock).digest('hex')}\n`;
}

/**
 * Whether a list such as npm's `os` or `cpu` allows `value`; npm writes one value as a bare string.
 * @param {unknown} list
 * @param {string} value
 */
function allows(list, value) {
  if (list === undefined) return true;
  const entries = [list].flat();
  if (entries.includes(`!${value}`)) return false;
  const wanted = entries.filter((entry) => !String(entry).startsWith('!'));
  return wanted.length === 0 || wanted.includes(value);
}

/**
 * Whether npm's record of what it installed matches the lock file. A package may be absent only when it is an
 * optional one for another platform.
 * @param {{packages?: Record<string, any>}} lock package-lock.json
 * @param {{packages?: Record<string, any>}} installed node_modules/.package-lock.json
 * @param {{platform: string, arch: string}} machine
 */
export function sameAsInstalled(lock, installed, machine) {
  const have = installed.packages ?? {};
  return Object.entries(lock.packages ?? {}).every(([path, want]) => {
    if (path === '') return true;
    const got = have[path];
    if (got) return got.version === want.version && got.integrity === want.integrity;
    const fits = allows(want.os, machine.platform) && allows(want.cpu, machine.arch) && !want.libc;
    return want.optional === true && !fits;
  });
}

/** @param {string} root */
function recordedByNpm(root) {
  const record = readOr(join(root, 'node_modules/.package-lock.json'));
  if (record === undefined) return false;
  try {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    return sameAsInstalled(lock, JSON.parse(record), process);
  } catch {
    return false;
  }
}

/**
 * Whether node_modules holds what package-lock.json says.
 * @param {string} root the checkout
 */
export function dependenciesInStep(root) {
  const wanted = wantedStamp(root);
  if (readOr(join(root, STAMP)) === wanted) return true;
  if (!recordedByNpm(root)) return false;
  try {
    writeFileSync(join(root, STAMP), wanted);
  } catch {
    // Another user's checkout: it is in step all the same, and is compared again next time.
  }
  return true;
}

/**
 * Runs `npm ci`, its output on stderr. Call it under the lock.
 * @param {string} root the checkout
 */
export function installDependencies(root) {
  const first = !existsSync(join(root, 'node_modules'));
  say(
    `${first ? 'installing the npm packages' : 'package-lock.json changed: installing the npm packages again'} (npm ci; node_modules takes about 300 MB)`,
  );
  const started = performance.now();
  // Inside `npm run` this is the npm that called us; otherwise the one on the PATH.
  const own = process.env.npm_execpath;
  const npm = own && /^npm-cli\.c?js$/.test(basename(own)) ? [process.execPath, own] : ['npm'];
  const flags = ['ci', '--include=dev', '--include=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
  const [program, ...before] = npm;
  const result = spawnSync(program, [...before, ...flags, '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (result.error) {
    throw new BootstrapError(
      'npm is missing on this machine',
      'Install npm (Debian: apt-get install npm), or run "npm ci" elsewhere.',
    );
  }
  if (result.status !== 0) {
    throw new BootstrapError(
      `npm ci failed (${result.signal ?? `exit ${result.status}`})`,
      `npm's own words are above; most often the package registry cannot be reached. Try "npm ci" in ${root}.`,
    );
  }
  writeFileSync(join(root, STAMP), wantedStamp(root));
  say(`npm packages installed in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
