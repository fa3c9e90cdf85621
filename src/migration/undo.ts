/** What takes a step back, as data: it is journalled before the step acts, and must be harmless when done twice. */
import { z } from 'zod';

export const Undo = z.discriminatedUnion('kind', [
  /** Give the destination's devices back. */
  z.object({ kind: z.literal('release-device'), host: z.string(), device: z.string() }),
  z.object({ kind: z.literal('remove-tap'), host: z.string(), tap: z.string() }),
  /** Take away the image that was made for a disk. */
  z.object({ kind: z.literal('remove-disk'), host: z.string(), path: z.string() }),
  /** Kill the QEMU that waits on the destination and remove its directory. */
  z.object({ kind: z.literal('end-destination'), host: z.string() }),
  /** Stop the replay program in the guest and remove its files. */
  z.object({ kind: z.literal('remove-program'), nic: z.string() }),
  /** Give the interface back to the guest's network manager. */
  z.object({ kind: z.literal('give-interface-back'), nic: z.string() }),
  /** Remove what was written into the guest for its next boot. */
  z.object({ kind: z.literal('forget-persisted'), nic: z.string() }),
  z.object({ kind: z.literal('standby-link-down'), nic: z.string() }),
  /** Plug the source's own device again and replay the shadow onto it. */
  z.object({ kind: z.literal('reattach'), nic: z.string() }),
  /** Give a device that was made ready for a swap back to what it was. */
  z.object({ kind: z.literal('unprepare-device'), device: z.string() }),
  /** Stop answering for the absent NIC. */
  z.object({ kind: z.literal('stop-answering'), nic: z.string() }),
  /** Break the copy of a disk off; the guest goes on with its own. */
  z.object({ kind: z.literal('stop-mirror'), disk: z.string() }),
  /** Stop the copy; the source runs on. */
  z.object({ kind: z.literal('cancel-copy') }),
]);
export type Undo = z.infer<typeof Undo>;

/** What the destination takes back. */
export type DestinationUndo = Extract<
  Undo,
  { kind: 'release-device' | 'remove-tap' | 'remove-disk' | 'end-destination' }
>;

const THERE: readonly Undo['kind'][] = ['end-destination', 'remove-disk', 'remove-tap', 'release-device'];

export const isDestinationUndo = (undo: Undo): undo is DestinationUndo => THERE.includes(undo.kind);
