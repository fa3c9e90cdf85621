/**
 * What the report page is made from: the record of one migration. Plain data, parsed where it enters.
 * Times are milliseconds relative to the start of the migration (they may be negative for traffic before it),
 * except `startedAtMs`. Strings may come from the guest and are never trusted.
 */
import { z } from 'zod';
import { PHASES } from '../base/phases.ts';
import { Continuity } from '../shadow/net/plan-model.ts';

export const PhaseName = z.enum(PHASES);
export type PhaseName = z.infer<typeof PhaseName>;

/** Bounds keep sums and differences of any two values finite and dates printable. */
const Moment = z.number().min(-1e12).max(1e12);
const Duration = z.number().min(0).max(1e12);
const Bytes = z.number().min(0).max(1e18);
const Count = z.number().int().min(0).max(1e15);

/** A stretch without traffic, seen from a peer outside. */
export const Gap = z.object({ startMs: Moment, ms: Duration });
export type Gap = z.infer<typeof Gap>;

export const PhaseSpan = z.object({ name: PhaseName, startMs: Moment, durationMs: Duration });
export type PhaseSpan = z.infer<typeof PhaseSpan>;

export const Step = z.object({
  phase: PhaseName,
  name: z.string(),
  startMs: Moment,
  durationMs: Duration,
  /** Traffic or the end of the migration waits for it. */
  critical: z.boolean(),
  detail: z.string().optional(),
});
export type Step = z.infer<typeof Step>;

export const Mark = z.object({ name: z.string(), atMs: Moment, detail: z.string().optional() });
export type Mark = z.infer<typeof Mark>;

/** Traffic of the probe's streams as the peer outside sees it, since the preceding sample. */
export const ThroughputSample = z.object({
  atMs: Moment,
  /** Received by the peer (from the guest). */
  bytesIn: Bytes,
  /** Sent by the peer (to the guest). */
  bytesOut: Bytes,
  /** Records that came back. */
  echoes: Count,
});
export type ThroughputSample = z.infer<typeof ThroughputSample>;

export const ProgressSample = z.object({
  atMs: Moment,
  phase: PhaseName,
  /** Bytes sent so far. */
  transferred: Bytes,
  /** Bytes of memory still to send. */
  remaining: Bytes,
  rateBps: Bytes,
  dirtyRateBps: Bytes,
});
export type ProgressSample = z.infer<typeof ProgressSample>;

export const ConnectionResult = z.object({
  kind: z.string(),
  survived: z.boolean(),
  bytes: Bytes,
  longestStallMs: Duration,
});
export type ConnectionResult = z.infer<typeof ConnectionResult>;

const DeviceKind = z.object({ model: z.string(), driver: z.string() });

/** Names the NIC that an outcome is of, where several have moved. */
const nic = z.string().optional();

/** What became of one of several direct NICs. */
export const NicOutcome = z.object({
  nic: z.string(),
  network: z.string().optional(),
  from: DeviceKind.extend({ device: z.string() }),
  /** The driver is null where the device did not come. */
  to: z.object({ device: z.string(), model: z.string(), driver: z.string().nullable() }),
  continuity: Continuity.optional(),
  captured: Count,
  restored: Count,
  adapted: Count,
  lost: Count,
  /** Why it has no device. */
  error: z.string().optional(),
});
export type NicOutcome = z.infer<typeof NicOutcome>;

export const MigrationReport = z.object({
  vm: z.string(),
  source: z.string(),
  destination: z.string(),
  from: DeviceKind,
  to: DeviceKind,
  continuity: Continuity,
  strategy: z.string(),
  strategyReason: z.string(),
  ok: z.boolean(),
  /** Why the VM runs without its direct device, when it does. */
  degraded: z.string().optional(),
  error: z.object({ code: z.string(), message: z.string(), fix: z.string() }).optional(),
  /** Milliseconds since the epoch; the relative zero of every other time. */
  startedAtMs: z.number().min(0).max(8e15),
  totalMs: Duration,
  blackoutMs: Duration,
  /** Where the blackout begins; without it, it ends at the mark "destination runs", or is not drawn. */
  blackoutStartMs: Moment.optional(),
  /** Longest gap per protocol; null where no probe ran or none can be told. */
  outageMs: z.object({ tcp: Duration.nullable(), icmp: Duration.nullable() }),
  /** Bytes of memory that crossed the network. */
  memoryBytes: Bytes,
  connections: z.object({
    opened: Count,
    survived: Count,
    outOfOrder: Count,
    corrupt: Count,
    each: z.array(ConnectionResult).optional(),
  }),
  phases: z.array(PhaseSpan),
  steps: z.array(Step),
  marks: z.array(Mark),
  gaps: z.object({ tcp: z.array(Gap), icmp: z.array(Gap) }),
  throughput: z.array(ThroughputSample),
  progress: z.array(ProgressSample),
  shadow: z.object({
    captured: Count,
    restored: z.array(z.object({ nic, key: z.string(), value: z.string() })),
    adapted: z.array(z.object({ nic, key: z.string(), value: z.string(), now: z.string(), how: z.string() })),
    lost: z.array(z.object({ nic, key: z.string(), value: z.string(), why: z.string() })),
  }),
  /** Each direct NIC; what is above is their sum. */
  nics: z.array(NicOutcome).default([]),
  warnings: z.array(z.string()),
  host: z.object({ qemu: z.string(), accelerator: z.string(), kernel: z.string().optional() }),
  decisions: z.array(z.object({ atMs: Moment, action: z.string(), reason: z.string() })),
});
export type MigrationReport = z.infer<typeof MigrationReport>;
