import { z } from 'zod';

/** What the probe processes tell their parent, one JSON object a line. */

export const CONNECTION_KINDS = ['echo', 'bulk-in', 'bulk-out', 'idle', 'request'] as const;

const connectionResult = z.object({
  kind: z.enum(CONNECTION_KINDS),
  /** The connection was established at the start. */
  opened: z.boolean(),
  /** It was the same connection, and it worked, at the end. */
  survived: z.boolean(),
  /** Payload bytes that were checked (for bulk-in: sent). */
  bytes: z.number(),
  /** Records that came out of order (echo only; the others compare a stream by position). */
  outOfOrder: z.number(),
  /** Wrong records (echo), wrong answers (request, idle), wrong bytes (bulk-out), wrong digests (bulk-in). */
  corrupt: z.number(),
  /** The longest time the application had to wait: for an echo, an answer, data, or for its data to be taken. */
  longestStallMs: z.number(),
  /** Why it did not open or survive. */
  error: z.string().optional(),
});

const gap = z.object({ startMs: z.number(), ms: z.number(), ended: z.boolean() });

export const probeMessage = z.discriminatedUnion('type', [
  /** All it measures is connected and answers. */
  z.object({ type: z.literal('ready') }),
  /** It cannot go on (before `ready`: cannot begin). */
  z.object({ type: z.literal('failed'), why: z.string() }),
  gap.extend({ type: z.literal('gap') }),
  /** Rows of bucket number (epoch ms divided by the step) and one count per field. */
  z.object({ type: z.literal('samples'), rows: z.array(z.array(z.number())) }),
  z.object({
    type: z.literal('result'),
    /** The longest gap between answers; absent where there is no series of answers. */
    longestGapMs: z.number().optional(),
    /** The longest time that the probe itself was late, in which it could not have seen an answer. */
    lateMs: z.number(),
    connections: z.array(connectionResult).optional(),
  }),
]);

export type ProbeMessage = z.output<typeof probeMessage>;
export type ConnectionResult = z.output<typeof connectionResult>;
export type ConnectionKind = ConnectionResult['kind'];
