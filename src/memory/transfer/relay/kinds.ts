/** What the two relays say to each other. */
import { z } from 'zod';
import { MemoryLabel } from '../pages/store-model.ts';
import { nonsense } from '../wire/bytes.ts';
import { FIRST_KIND } from '../wire/frame.ts';

/** From the source: `memory`, `again`, `end`. From the destination: the others. */
export const KIND = {
  /** A frame of the stream. */
  memory: FIRST_KIND,
  /** One that was needed with its content. */
  again: FIRST_KIND + 1,
  /** QEMU has sent everything. */
  end: FIRST_KIND + 2,
  /** What the destination has of the VM; the first that it says. */
  offer: FIRST_KIND + 3,
  /** What the destination's QEMU says. */
  reply: FIRST_KIND + 4,
  /** A frame names pages that the destination cannot give. */
  need: FIRST_KIND + 5,
  /** The destination's QEMU has closed its end. */
  closed: FIRST_KIND + 6,
} as const;

/** What a destination has, and why nothing where it has nothing. */
export const Offer = z.object({ label: MemoryLabel.optional(), why: z.string().max(500).optional() });
export type Offer = z.infer<typeof Offer>;

/** @throws TRANSFER_PROTOCOL */
export function parseOffer(payload: Uint8Array): Offer {
  try {
    return Offer.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
  } catch {
    throw nonsense('an offer of unknown form');
  }
}

export function numberPayload(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

/** @throws TRANSFER_PROTOCOL */
export function readNumber(payload: Uint8Array): number {
  if (payload.length !== 4) throw nonsense('a number of unknown form');
  return Buffer.from(payload).readUInt32BE(0);
}
