/** Opens and makes pools on real devices and files. */
import { open } from 'node:fs/promises';
import { exec } from '../../base/exec.ts';
import { errnoOf } from '../../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { View } from './changes.ts';
import type { PoolDevice } from './device.ts';
import { FileDevice } from './file-device.ts';
import type { Shape } from './geometry.ts';
import { lookAt, Pool } from './pool.ts';
import { type LiveRecovery, type Recovered, recover } from './recover.ts';
import { SUPERBLOCK, unseal } from './seal.ts';

/** So much at both ends of a device must be zeros before a pool is made on it: signatures of others stand there. */
const ENDS = 1024 * 1024;

/** Looks at a pool without locking it. @throws INPUT_FIELD, POOL_FOREIGN, POOL_NEWER, POOL_CORRUPT */
export async function lookAtPool(path: string): Promise<View> {
  const device = await FileDevice.open(path, 'look');
  try {
    return await lookAt(device);
  } finally {
    await device.close();
  }
}

/**
 * Locks and opens a pool, and recovers it.
 * @throws INPUT_FIELD, POOL_BUSY, POOL_FOREIGN, POOL_NEWER, POOL_CORRUPT, POOL_UNWRITABLE, POOL_MOVE_UNFINISHED
 */
export async function openPool(
  path: string,
  live: LiveRecovery,
  signal: AbortSignal,
): Promise<{ pool: Pool; recovered: Recovered }> {
  const device = await FileDevice.open(path, 'change');
  try {
    const pool = await Pool.open(device);
    return { pool, recovered: await recover(pool, live, signal) };
  } catch (error) {
    await device.close();
    throw error;
  }
}

async function refuseContent(device: PoolDevice): Promise<void> {
  const refuse = (why: string) => new ShadowferryError('POOL_NOT_EMPTY', { pool: device.path, why });
  const length = Math.min(ENDS, device.size);
  const front = await device.read(0, length);
  if (unseal(SUPERBLOCK, front).state !== 'absent') throw refuse('there is a pool on it');
  for (const [bytes, where] of [
    [front, 'beginning'],
    [await device.read(device.size - length, length), 'end'],
  ] as const) {
    if (bytes.some((byte) => byte !== 0)) throw refuse(`at its ${where} is something else than zeros`);
  }
}

/** Gives a new file its size, with room for all of it where the file system can. @throws INPUT_FIELD */
async function makeFile(path: string, size: number, sparse: boolean): Promise<void> {
  const fail = (problem: string, cause?: unknown) =>
    new ShadowferryError('INPUT_FIELD', { field: 'pool', problem }, { cause });
  try {
    const handle = await open(path, 'wx', 0o600);
    await handle.truncate(size);
    await handle.close();
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw fail(`${path} exists; leave its size out to use it as it is`);
    throw fail(`${path} cannot be made: ${reasonOf(error)}`, error);
  }
  if (sparse) return;
  const { code, stderr } = await exec(['fallocate', '--length', `${size}`, path], { allowFailure: true });
  if (code !== 0) throw fail(`there is no room for ${path}: ${stderr.trim()} (--sparse makes it without)`);
}

export interface CreateOptions extends Shape {
  /** Makes a file of so many bytes; else `path` exists and all of it is taken. */
  size?: number;
  /** A new file takes room only as it is written; a guest's write may then fail for want of it. */
  sparse?: boolean;
  /** Overwrites whatever is there. */
  force?: boolean;
}

/** Makes a pool. @throws INPUT_FIELD, POOL_BUSY, POOL_NOT_EMPTY, POOL_UNWRITABLE */
export async function createPool(path: string, options: CreateOptions = {}): Promise<Pool> {
  const { size, sparse = false, force = false, ...shape } = options;
  if (size !== undefined) await makeFile(path, size, sparse);
  const device = await FileDevice.open(path, 'change');
  try {
    if (!force) await refuseContent(device);
    return await Pool.create(device, shape);
  } catch (error) {
    await device.close();
    throw error;
  }
}
