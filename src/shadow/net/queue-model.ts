/** Queues and interrupts of a direct device: how many there are, and which. */
import { z } from 'zod';

/** What a vector (an interrupt of the device) is for. `all`: the device has only this one. */
export const VectorRole = z.enum(['all', 'both', 'rx', 'tx', 'other']);
export type VectorRole = z.infer<typeof VectorRole>;

/** How many of each there are; settings of a queue that is not there cannot be restored but folded into others. */
export const QueueLayout = z.object({
  rx: z.number().int().nonnegative(),
  tx: z.number().int().nonnegative(),
  /** Vectors in the order of their numbers: `rx-0`, `tx-0`, `both-1`, `other-0`, `all-0`. */
  vectors: z.array(z.string()),
  /** Processors that a vector may use unless told otherwise, as the kernel's mask in hexadecimal. */
  allCpus: z.string().optional(),
});
export type QueueLayout = z.infer<typeof QueueLayout>;

/** A mask of processors as the kernel writes it (groups of 32 bits in hexadecimal, commas between), as a number. */
export const maskBits = (mask: string): bigint => {
  const digits = mask.replaceAll(',', '');
  return /^[0-9a-f]+$/i.test(digits) ? BigInt(`0x${digits}`) : 0n;
};

/** Has every processor of `part` a place in `whole`? */
export const maskHolds = (whole: string, part: string): boolean =>
  (maskBits(whole) & maskBits(part)) === maskBits(part);
