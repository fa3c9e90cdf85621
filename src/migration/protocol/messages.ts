/**
 * What the two daemons say to each other. Every message may be lost, repeated, late, or overtaken by a later one: each
 * names the hand-over, and each is answered with the state that is in the journal by then.
 */
import { z } from 'zod';
import { FIRST_INCOMING, type IncomingState, incomingTransition } from './incoming.ts';

/** `HandOver` as it is sent and journalled. */
export const HandOverText = z.strictObject({
  id: z.string().min(1),
  vm: z.string().min(1),
  source: z.string().min(1),
  destination: z.string().min(1),
  epoch: z.int().min(1),
});

/** From the coordinator to the destination. */
export const ToDestination = z.discriminatedUnion('kind', [
  /** Make ready for this VM. */
  z.strictObject({ kind: z.literal('reserve'), handOver: HandOverText }),
  /** The record has changed: look at it. Only a hint, for the destination looks by itself too. */
  z.strictObject({ kind: z.literal('look'), handOver: HandOverText }),
  /** The migration goes back. Sent only when its commit will never be asked for again. */
  z.strictObject({ kind: z.literal('cancel'), handOver: HandOverText }),
  /** What is your state? */
  z.strictObject({ kind: z.literal('ask'), handOver: HandOverText }),
]);
export type ToDestination = z.infer<typeof ToDestination>;

/**
 * The incoming migration after a message; undefined where there is none. An id that has ended stays in the journal, so
 * that a late `reserve` makes nothing again; and a `cancel` that comes before its `reserve` is remembered.
 */
export function receive(
  state: IncomingState | undefined,
  { kind }: Pick<ToDestination, 'kind'>,
): IncomingState | undefined {
  switch (kind) {
    case 'reserve':
      return state ?? FIRST_INCOMING;
    case 'cancel':
      return state === undefined ? { kind: 'discarded' } : incomingTransition(state, 'cancelled');
    case 'look':
    case 'ask':
      return state;
    default:
      return kind satisfies never;
  }
}

/** Longest waits, ms. None of them decides anything by itself: they only make a daemon look for another way. */
export const PROTOCOL_MS = {
  /** For an answer of the other daemon or of the store. */
  answer: 5_000,
  /** Between two looks at a record or a peer that is waited for. */
  look: 1_000,
  /** Without a word of the coordinator, until the destination wants to go back. */
  patience: 60_000,
} as const;
