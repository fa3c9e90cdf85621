/**
 * What is written to a disk since it came to a host, kept by QEMU as a dirty bitmap; in a qcow2 it outlives QEMU. The
 * host where the disk came from has it as it was then, so this is all that must go back there.
 */
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { diskIds } from '../hypervisor/qemu/spec.ts';
import type { Qmp } from '../hypervisor/qmp/client.ts';
import type { DiskTarget } from './model.ts';

const PREFIX = 'since-';
/** Bytes that one bit stands for. */
const GRANULARITY = 65_536;

/** Name of the bitmap of what was written since a migration. */
export const bitmapSince = (migration: string): string => PREFIX + migration;

/** The migration since when a bitmap counts; undefined for one that is not ours. */
export const migrationOf = (bitmap: string): string | undefined =>
  bitmap.startsWith(PREFIX) ? bitmap.slice(PREFIX.length) : undefined;

const Nodes = z.array(
  z.object({
    'node-name': z.string().optional(),
    'dirty-bitmaps': z.array(z.object({ name: z.string().default('') })).default([]),
  }),
);

/** Removes what an image that is used again knows of earlier times. @throws QMP_REFUSED, QMP_CLOSED, the signal's reason */
export async function forgetVersions(
  qmp: Qmp,
  targets: readonly DiskTarget[],
  signal: AbortSignal,
): Promise<void> {
  if (targets.every(({ since }) => since === undefined)) return;
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, { schema: Nodes, signal });
  for (const target of targets) {
    const { node } = diskIds(target);
    const bitmaps = nodes.find((each) => each['node-name'] === node)?.['dirty-bitmaps'] ?? [];
    for (const { name } of bitmaps)
      if (migrationOf(name) !== undefined)
        await qmp.execute('block-dirty-bitmap-remove', { node, name }, { signal });
  }
}

/**
 * Keeps account of what is written to disks from now on, while the VM still stands. Where QEMU cannot (an old qcow2), the
 * VM runs all the same, and a way back moves the whole disk.
 * @throws QMP_CLOSED, the signal's reason
 */
export async function beginVersion(
  qmp: Qmp,
  targets: readonly DiskTarget[],
  migration: string,
  signal: AbortSignal,
): Promise<void> {
  for (const target of targets) {
    const { node } = diskIds(target);
    const bitmap = { name: bitmapSince(migration), granularity: GRANULARITY };
    const persistent = target.format === 'qcow2';
    try {
      await qmp.execute('block-dirty-bitmap-add', { node, ...bitmap, persistent }, { signal });
    } catch (error) {
      // also when it is there already, from a try before
      if (!(error instanceof ShadowferryError && error.code === 'QMP_REFUSED')) throw error;
    }
  }
}
