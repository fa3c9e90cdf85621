/** What a host knows of the memory of VMs that are elsewhere, as it stands in files and messages. */
import { z } from 'zod';
import { RamBlocks } from './page-index.ts';

export const Version = z.string().regex(/^[0-9a-f]{64}$/, 'a hash in hex');

/** Which memory of which VM: both ends name it the same way, or do not use it. */
export const MemoryLabel = z.object({
  vm: z.string().regex(/^[a-z][a-z0-9-]{0,30}$/),
  /** Of the owner that the VM left. */
  epoch: z.number().int().nonnegative(),
  /** Of all pages that went by, with their places and in their order: whoever has the same has the same pages. */
  version: Version,
});
export type MemoryLabel = z.infer<typeof MemoryLabel>;

/** Beside the pages or the index that it describes; written last, so that what has none is not whole. */
export const StoreRecord = MemoryLabel.extend({
  blocks: RamBlocks,
  /** Of the file with the index. */
  index: Version,
  /** Bytes that it takes. */
  bytes: z.number().int().nonnegative(),
  /** When it was last used, ms since the epoch. */
  usedAt: z.number().nonnegative(),
});
export type StoreRecord = z.infer<typeof StoreRecord>;

export function sameLabel(one: MemoryLabel, other: MemoryLabel): boolean {
  return one.vm === other.vm && one.epoch === other.epoch && one.version === other.version;
}
