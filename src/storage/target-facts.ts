/** What there is at a path of this host where a disk shall come to. Reads only. */
import { constants, type Stats } from 'node:fs';
import { access, lstat, open, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { exec } from '../base/exec.ts';
import { errnoOf } from '../base/safe-file.ts';
import { reasonOf } from '../errors.ts';
import { isIntact, leftMark } from './left-behind.ts';
import type { TargetFacts } from './model.ts';

const SECTOR = 512;

async function statOf(path: string, how: (path: string) => Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await how(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Why this host keeps no disk there; undefined when it does. */
async function refusal(
  path: string,
  directory: string,
  allowed: readonly string[] | undefined,
): Promise<string | undefined> {
  if (allowed === undefined || allowed.includes(path)) return undefined;
  for (const each of allowed) {
    const real = await realpath(each).catch(() => each);
    if (directory === real || directory.startsWith(`${real}/`)) return undefined;
  }
  const where = allowed.length === 0 ? 'nowhere' : `in ${allowed.join(', ')}`;
  return `it keeps disks ${where}`;
}

/** Who writes an image, by the locks that QEMU holds on it; undefined: nobody. */
async function writer(path: string, signal: AbortSignal): Promise<string | undefined> {
  // opened as if to write, as only that asks for the lock; as raw, so that its content is not looked at, nor trusted
  const words = ['qemu-io', '-f', 'raw', '-c', 'quit', path] as const;
  const { code, stderr } = await exec(words, { signal, allowFailure: true });
  return code !== 0 && stderr.includes('lock') ? 'another QEMU writes it' : undefined;
}

async function deviceFacts(
  path: string,
  { rdev }: Stats,
): Promise<Pick<TargetFacts, 'bytes' | 'logicalBlock' | 'readOnly' | 'inUse'>> {
  // the number of a device as the C library packs it
  const [major, minor] = [(rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00)];
  const sys = await realpath(`/sys/dev/block/${major}:${minor}`);
  const number = async (file: string) => Number((await readFile(join(sys, file), 'utf8')).trim());
  // a partition has the queue of its disk
  const queue = (await statOf(join(sys, 'queue'), stat)) === undefined ? '../queue' : 'queue';
  const facts = {
    bytes: (await number('size')) * SECTOR,
    logicalBlock: await number(`${queue}/logical_block_size`),
  };
  if ((await number('ro')) === 1) return { ...facts, readOnly: 'the device is read-only' };
  try {
    // fails while it is mounted, or a part of something else
    await (await open(path, constants.O_RDWR | constants.O_EXCL)).close();
    return facts;
  } catch (error) {
    if (errnoOf(error) === 'EBUSY')
      return { ...facts, inUse: 'it is mounted, or stands under another device' };
    return { ...facts, readOnly: reasonOf(error) };
  }
}

async function roomFacts(
  directory: string,
): Promise<Pick<TargetFacts, 'freeBytes' | 'fileSystem' | 'readOnly'>> {
  const [{ bavail, bsize }, { dev }] = await Promise.all([statfs(directory), stat(directory)]);
  const facts = { freeBytes: bavail * bsize, fileSystem: String(dev) };
  try {
    await access(directory, constants.W_OK);
    return facts;
  } catch (error) {
    return { ...facts, readOnly: reasonOf(error) };
  }
}

/**
 * @param allowed directories and block devices where this host takes disks; undefined: anywhere
 * @throws TOOL_MISSING, the signal's reason, what the system says of a path that cannot be looked at
 */
export async function targetFacts(
  path: string,
  allowed: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<TargetFacts> {
  const none = (refused: string): TargetFacts => ({ path, what: 'nothing', refused });
  if (!isAbsolute(path) || path.split('/').includes('..'))
    return none('a path from the root, without "..", is needed');
  const directory = await realpath(dirname(path)).catch(() => undefined);
  if (directory === undefined) return none(`there is no directory ${dirname(path)}`);
  const refused = await refusal(path, directory, allowed);
  if (refused !== undefined) return none(refused);
  const own = await statOf(path, lstat);
  const found = own?.isSymbolicLink() === true ? await statOf(path, stat) : own;
  if (own === undefined) return { path, what: 'nothing', ...(await roomFacts(directory)) };
  if (found?.isBlockDevice() === true) {
    const facts = await deviceFacts(path, found);
    const inUse = facts.inUse ?? (await writer(path, signal));
    return { path, what: 'device', ...facts, ...(inUse === undefined ? {} : { inUse }) };
  }
  if (!own.isFile()) return { path, what: 'other' };
  const [mark, inUse] = [leftMark(path), await writer(path, signal)];
  return {
    ...{ path, what: 'file', bytes: own.blocks * SECTOR, ...(await roomFacts(directory)) },
    ...(inUse === undefined ? {} : { inUse }),
    ...(mark === undefined
      ? {}
      : {
          leftBy: { vm: mark.vm, disk: mark.disk, migration: mark.migration, intact: isIntact(path, mark) },
        }),
  };
}
