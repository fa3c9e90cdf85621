/** What a pool's catalog holds: volumes, each one extent of the device, and the one move that may be under way. */
import { z } from 'zod';

/** Bytes, as an offset or a size. */
const Bytes = z.int().min(0);

/** Names are seen in file names, node names of QEMU and JSON: letters, digits, `.`, `_`, `-`. */
export const VolumeName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);

export const Extent = z.object({ offset: Bytes, size: Bytes });
/** A contiguous range of the device, in bytes from its beginning. */
export type Extent = z.infer<typeof Extent>;

/** The QEMU that has a volume open: where it is asked, and the node that is the volume there. */
export const QemuUse = z.object({ monitor: z.string().min(1).max(200), node: z.string().min(1).max(31) });
export type QemuUse = z.infer<typeof QemuUse>;

export const Holder = z.object({ name: z.string().min(1).max(128), qemu: QemuUse.optional() });
/** Who uses a volume. What is held is not deleted, grown or moved behind its user's back. */
export type Holder = z.infer<typeof Holder>;

export const Volume = z.object({
  id: z.int().min(1),
  name: VolumeName,
  offset: Bytes,
  size: Bytes,
  holder: Holder.optional(),
});
export type Volume = z.infer<typeof Volume>;

/** Names in the QEMU of a volume that is moved while it runs: its job, the node of the new place and of the old. */
export const LiveMove = z.object({ job: z.string(), from: z.string(), to: z.string() });
export type LiveMove = z.infer<typeof LiveMove>;

const Copying = z.object({
  state: z.literal('copying'),
  volume: z.int(),
  to: Extent,
  live: LiveMove.optional(),
});
const Sliding = z.object({ state: z.literal('sliding'), volume: z.int(), to: Bytes, done: Bytes });
const Leaving = z.object({ state: z.literal('leaving'), volume: z.int(), old: Extent, live: LiveMove });

/**
 * A move that has begun.
 * `copying`: the volume is where it was, and `to` is being filled; it counts for nothing yet.
 * `sliding`: old and new place overlap; `done` bytes (the first of it when it goes down, the last when it goes up)
 * are in the new place, the others in the old one.
 * `leaving`: the volume is in its new place; its QEMU has not let go of the old one yet.
 */
export const Move = z.discriminatedUnion('state', [Copying, Sliding, Leaving]);
export type Move = z.infer<typeof Move>;
export type Copying = z.infer<typeof Copying>;
export type Sliding = z.infer<typeof Sliding>;
export type Leaving = z.infer<typeof Leaving>;

export const Catalog = z.object({
  nextId: z.int().min(1),
  volumes: z.array(Volume),
  move: Move.nullable(),
});
export type Catalog = z.infer<typeof Catalog>;

export const Geometry = z.object({
  uuid: z.uuid(),
  /** Of the whole pool, from the device's beginning. */
  size: Bytes,
  /** Offsets and sizes of volumes are multiples of it. */
  alignment: z.int().min(4096),
  /** Where each of the two copies of the catalog begins. */
  copies: z.tuple([Bytes, Bytes]),
  /** Room of each copy. */
  copySize: Bytes,
  /** Volumes lie from here to `end`. */
  start: Bytes,
  end: Bytes,
});
/** What is fixed when a pool is made. */
export type Geometry = z.infer<typeof Geometry>;
