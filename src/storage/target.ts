/** Images on this host that disks come to: made, kept, or taken away again. Each may be repeated without harm. */
import { existsSync } from 'node:fs';
import { link, rm, stat } from 'node:fs/promises';
import { z } from 'zod';
import { exec } from '../base/exec.ts';
import { errnoOf, writeWhole } from '../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { isIntact, type LeftMark, leftFile, leftMark, writeMark } from './left-behind.ts';
import type { DiskTarget } from './model.ts';

/** Whose image it is. */
export interface TargetOf {
  host: string;
  vm: string;
  migration: string;
}

/**
 * A second name of an image while its migration is under way. What is removed on the way back is what has this name too,
 * so that a file of somebody else is never removed, whenever the process died.
 */
const claimFile = (path: string, migration: string) => `${path}.${migration}.coming`;

/** Says that an image that was left behind is written to by a migration. */
const returnFile = (path: string, migration: string) => `${path}.${migration}.returning`;

const isOwn = (mark: LeftMark | undefined, vm: string, disk: string) => mark?.vm === vm && mark.disk === disk;

async function inodeOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Takes the image of a migration away again; what is not of that migration stays. */
export async function dropTarget(path: string, migration: string): Promise<void> {
  const returning = returnFile(path, migration);
  if (existsSync(returning)) {
    // what was copied into it was written since it was left, and will be copied again
    const mark = leftMark(path);
    if (mark !== undefined) writeMark(path, mark);
    await rm(returning, { force: true });
  }
  const claim = claimFile(path, migration);
  const made = await inodeOf(claim);
  if (made === undefined) return;
  if ((await inodeOf(path)) === made) await rm(path);
  await rm(claim, { force: true });
}

/** The image is the VM's own from here on. */
export async function keepTarget(path: string, migration: string): Promise<void> {
  const returning = returnFile(path, migration);
  if (existsSync(returning)) {
    await rm(leftFile(path), { force: true });
    await rm(returning, { force: true });
  }
  await rm(claimFile(path, migration), { force: true });
}

const Info = z.object({ 'virtual-size': z.int() });

/** Takes an image that the disk left behind, as it is. @throws DISK_TARGET_REFUSED, DISK_SIZE_DIFFERS */
async function useAgain(target: DiskTarget, of: TargetOf, signal: AbortSignal): Promise<void> {
  const { id: disk, path, format, since, virtualBytes: needed } = target;
  const about = { disk, path, host: of.host };
  const mark = leftMark(path);
  if (mark === undefined || !isOwn(mark, of.vm, disk) || mark.migration !== since || !isIntact(path, mark)) {
    const why = 'the image that the disk left there has been changed';
    throw new ShadowferryError('DISK_TARGET_REFUSED', { ...about, why });
  }
  const { stdout } = await exec(['qemu-img', 'info', '-f', format, '--output=json', path], { signal });
  const has = Info.parse(JSON.parse(stdout))['virtual-size'];
  if (has !== needed) throw new ShadowferryError('DISK_SIZE_DIFFERS', { ...about, has, needed });
  writeWhole(returnFile(path, of.migration), '', 0o600, 'replace');
}

/**
 * Makes an empty image for a disk, sparse, or takes the one that it left there; an older try of the same migration is replaced. A block device that is used
 * raw is left as it is: all of it is written.
 * @throws DISK_TARGET_EXISTS, DISK_TARGET_REFUSED, TOOL_MISSING, the signal's reason
 */
export async function makeTarget(target: DiskTarget, of: TargetOf, signal: AbortSignal): Promise<void> {
  const { id: disk, path, format, at, virtualBytes } = target;
  const about = { disk, path, host: of.host };
  const create = (file: string) =>
    exec(['qemu-img', 'create', '-q', '-f', format, file, String(virtualBytes)], { signal }).catch(
      (error: unknown) => {
        signal.throwIfAborted();
        if (error instanceof ShadowferryError && error.code === 'TOOL_MISSING') throw error;
        throw new ShadowferryError('DISK_TARGET_REFUSED', { ...about, why: reasonOf(error) });
      },
    );
  if (at === 'device') {
    if (format !== 'raw') await create(path);
    return;
  }
  const claim = claimFile(path, of.migration);
  await dropTarget(path, of.migration);
  if (target.since !== undefined) return useAgain(target, of, signal);
  if (target.replaces && isOwn(leftMark(path), of.vm, disk)) {
    await rm(path, { force: true });
    await rm(leftFile(path), { force: true });
  }
  await create(claim);
  try {
    await link(claim, path);
  } catch (error) {
    await rm(claim, { force: true });
    if (errnoOf(error) === 'EEXIST') throw new ShadowferryError('DISK_TARGET_EXISTS', about);
    throw new ShadowferryError('DISK_TARGET_REFUSED', { ...about, why: reasonOf(error) });
  }
}
