/** What one transfer did, for who asked for it. */
import { z } from 'zod';
import { Version } from '../pages/store-model.ts';

const count = z.number().int().nonnegative();

export const SourceReport = z.object({
  /** Bytes that QEMU sent. */
  streamBytes: count,
  /** Bytes that went to the other host. */
  wireBytes: count,
  /** Pages, by what became of them. */
  pages: z.object({ zeros: count, sent: count, same: count, recent: count }),
  /** Pages that were named and had to be sent after all, in frames. */
  sentAgain: count,
  /** Connections that had to be made again. */
  reconnects: count,
  /** What the other end was known to have, or why nothing. */
  base: z.object({ known: z.boolean(), why: z.string() }),
  /** Whether this host keeps the VM's pages, or why not. */
  kept: z.object({ done: z.boolean(), why: z.string() }),
  /** Why a part of the stream went as it was; absent when all was understood. */
  unknown: z.string().optional(),
  /** Of the memory that went; absent when it was not all. */
  version: Version.optional(),
});
export type SourceReport = z.infer<typeof SourceReport>;

export const DestinationReport = z.object({
  /** Bytes that QEMU was given. */
  streamBytes: count,
  /** Pages of the store that were not what they should have been. */
  damaged: count,
  /** Whether what the other host keeps is remembered, or why not. */
  remembered: z.object({ done: z.boolean(), why: z.string() }),
  version: Version.optional(),
});
export type DestinationReport = z.infer<typeof DestinationReport>;
