/** What the coordinator sends to the destination's daemon, and what that one tells of an incoming migration. Data only. */
import { z } from 'zod';
import { NicSpec, VmSpec, Wanted } from '../../hypervisor/qemu/spec.ts';
import { DeviceIdentity, NetShadow } from '../../shadow/net/model.ts';
import { OperationSet, ReplayPlan } from '../../shadow/net/plan-model.ts';
import { DiskExport, DiskTarget } from '../../storage/model.ts';
import { HandOverText } from '../protocol/messages.ts';
import { Limits } from '../request.ts';

const Direct = z.object({ device: z.string(), model: z.string() });

export const ModelText = z.object({ pciId: z.string(), modalias: z.string() });

export const DeviceText = z.object({
  id: z.string(),
  kind: z.literal('emulated-nic'),
  model: z.string(),
  network: z.string(),
});

const NicMoveText = z.object({
  nic: NicSpec.safeExtend({ direct: Direct }),
  target: DeviceText,
  model: ModelText,
});

/** `Order` as it is sent and journalled. */
export const OrderText = z.object({
  handOver: HandOverText,
  spec: VmSpec,
  nics: z.array(NicMoveText).max(8),
  disks: z.array(DiskTarget).max(8).default([]),
  capabilities: z.record(z.string(), z.boolean()),
  limits: Limits,
  persist: z.boolean(),
});
export type OrderText = z.infer<typeof OrderText>;

const ManagerText = z.object({
  manager: z.enum(['none', 'ifupdown', 'networkd', 'NetworkManager']),
  client: z
    .string()
    .optional()
    .transform((client): string | undefined => client),
  report: z.array(z.string()),
  notes: z.array(z.string()),
  problems: z.array(z.string()),
});

/** `StagedNic` as it is sent and journalled. */
export const StagedText = z.object({
  nic: z.string(),
  shadow: NetShadow,
  plan: ReplayPlan,
  identity: DeviceIdentity,
  standbyPciPath: z.string().optional(),
  manager: ManagerText,
});
export type StagedText = z.infer<typeof StagedText>;

const Degraded = { degraded: z.boolean() };

/** `IncomingState` as it is sent and journalled. */
export const StateText = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('reserving') }),
  z.strictObject({ kind: z.literal('reserved') }),
  z.strictObject({ kind: z.literal('receiving') }),
  z.strictObject({ kind: z.literal('ready') }),
  z.strictObject({ kind: z.literal('starting') }),
  z.strictObject({ kind: z.literal('active') }),
  z.strictObject({ kind: z.literal('attached'), ...Degraded }),
  z.strictObject({ kind: z.literal('settled'), ...Degraded }),
  z.strictObject({ kind: z.literal('returning') }),
  z.strictObject({ kind: z.literal('discarding') }),
  z.strictObject({ kind: z.literal('discarded') }),
  z.strictObject({ kind: z.literal('lost') }),
]);

/** An error of the catalogue. */
export const ErrorText = z.object({
  code: z.string(),
  params: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type ErrorText = z.infer<typeof ErrorText>;

const ResultText = z.object({
  id: z.int(),
  rc: z.int(),
  stderr: z.string().optional(),
  set: OperationSet.optional(),
});

const OutcomeText = z.discriminatedUnion('fate', [
  z.object({ fate: z.literal('restored'), key: z.string(), value: z.string() }),
  z.object({
    ...{ fate: z.literal('adapted'), key: z.string(), value: z.string() },
    ...{ now: z.string(), how: z.string() },
  }),
  z.object({ fate: z.literal('lost'), key: z.string(), value: z.string(), why: z.string() }),
]);

export const AttachedText = z.object({
  replayed: z.record(z.string(), z.object({ results: z.array(ResultText) })),
  failed: z.record(z.string(), ErrorText),
});
export type AttachedText = z.infer<typeof AttachedText>;

export const SettledText = z.object({
  nics: z.record(
    z.string(),
    z.object({
      after: NetShadow,
      outcomes: z.array(OutcomeText),
      wanted: z.array(Wanted),
      persisted: z.array(z.string()).optional(),
    }),
  ),
  /** Why the comparison with the shadows did not come to its end. */
  error: ErrorText.optional(),
});
export type SettledText = z.infer<typeof SettledText>;

/** What happened, as the destination tells it; times are ms since the epoch by its own clock. */
export const Telling = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('state'), state: StateText, reason: z.string() }),
  /** Its QEMU takes the stream here; anew, when the link broke in post-copy. */
  z.object({
    ...{ kind: z.literal('listening'), uri: z.string() },
    exports: z.array(DiskExport).max(8).default([]),
  }),
  /** The vCPUs run, since `atMs`. */
  z.object({ kind: z.literal('running') }),
  z.object({ kind: z.literal('mark'), name: z.string(), nic: z.string().optional() }),
  z.object({ kind: z.literal('warning'), text: z.string() }),
  z.object({ kind: z.literal('decision'), action: z.string(), reason: z.string() }),
  /** A step that ended at `atMs`. */
  z.object({
    ...{ kind: z.literal('step'), phase: z.string(), name: z.string() },
    ...{ durationMs: z.number(), critical: z.boolean() },
  }),
  /** Packets can reach the NIC again. */
  z.object({ kind: z.literal('carrier'), nic: z.string() }),
  z.object({ kind: z.literal('attached'), attached: AttachedText }),
  z.object({ kind: z.literal('settled'), settled: SettledText }),
  /** Why it goes back. */
  z.object({ kind: z.literal('error'), error: ErrorText }),
]);
export type Telling = z.infer<typeof Telling>;

/** One thing told, with its number in the incoming migration: 1, 2, … */
export const Told = z.object({ rev: z.int().min(1), atMs: z.number(), what: Telling });
export type Told = z.infer<typeof Told>;
