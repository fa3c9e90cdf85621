/** What the parts of a disk's move know of each other: data only, as it goes from host to host. */
import { z } from 'zod';

const Format = z.enum(['raw', 'qcow2']);
const At = z.enum(['file', 'device']);

/** Where a disk goes on the destination. */
export const DiskTarget = z.object({
  id: z.string(),
  path: z.string().min(1).max(4096),
  format: Format,
  at: At,
  /** An image that the disk left behind there earlier is replaced. */
  replaces: z.boolean(),
  /** By which migration that was, where the image is used again: only what was written since goes over. */
  since: z.string().optional(),
  /** Of the disk as the guest sees it, bytes. */
  virtualBytes: z.int().positive(),
});
export type DiskTarget = z.infer<typeof DiskTarget>;

/** Where the destination's QEMU takes the content of a disk, by NBD. */
export const DiskExport = z.object({
  id: z.string(),
  host: z.string(),
  port: z.int().min(1).max(65_535),
  name: z.string(),
  /** Name in the certificate of the host that takes it; absent: it is not encrypted. */
  certificate: z.string().optional(),
});
export type DiskExport = z.infer<typeof DiskExport>;

/** What there is at a path where a disk shall come to. */
export const TargetFacts = z.object({
  path: z.string(),
  what: z.enum(['nothing', 'file', 'device', 'other']),
  /** Of a block device or file, bytes. */
  bytes: z.int().nonnegative().optional(),
  /** Of a block device: the smallest that can be written at once, bytes. */
  logicalBlock: z.int().positive().optional(),
  /** Why it cannot be written, where it cannot. */
  readOnly: z.string().optional(),
  /** Who uses it, where somebody does. */
  inUse: z.string().optional(),
  /** Of the file system that a new file would be on, bytes. */
  freeBytes: z.int().nonnegative().optional(),
  /** Which file system that is, on its host. */
  fileSystem: z.string().optional(),
  /** The disk that left this image behind when its VM moved away: it is out of date, and may be replaced. */
  leftBy: z
    .object({
      ...{ vm: z.string(), disk: z.string(), migration: z.string() },
      /** Nobody has written to it since. */
      intact: z.boolean(),
    })
    .optional(),
  /** Why this host keeps no disks there, where it does not. */
  refused: z.string().optional(),
});
export type TargetFacts = z.infer<typeof TargetFacts>;

/** What a running QEMU says of one disk. */
export interface DiskFacts {
  id: string;
  path: string;
  format: z.infer<typeof Format>;
  virtualBytes: number;
  /** That it takes now, with the images below it, bytes. */
  allocatedBytes: number;
  /** Size of the smallest request that the guest may send, bytes. */
  guestBlock: number;
  /** What was written since it came here, by the migration that it came by, bytes. */
  changed: ReadonlyMap<string, number>;
  /** Files of its image that are not there any more. */
  missing: readonly string[];
}

/** A disk that moves. */
export interface DiskMove {
  from: DiskFacts;
  to: DiskTarget;
}
