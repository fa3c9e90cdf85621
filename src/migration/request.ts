/** What a user asks of a migration. */
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { Strategy } from '../memory/strategy/choose.ts';
import { StrategyTuning } from '../memory/strategy/options.ts';
import { Continuity } from '../shadow/net/plan-model.ts';
import { OldDisk } from '../storage/left-behind.ts';

export const Limits = z.object({
  /** Longest wait for the guest to release its device. */
  unplugMs: z.number().int().positive().default(15_000),
  /** Longest copy of memory before the strategy gives up on pre-copy. */
  copyMs: z.number().int().positive().default(300_000),
  /** Longest copy of the disks that move, before the VM leaves. */
  diskMs: z.number().int().positive().default(86_400_000),
  /** Longest time without a byte sent before the link counts as dead. */
  stallMs: z.number().int().positive().default(10_000),
  /** Longest wait for the new device to carry traffic, per try. */
  attachMs: z.number().int().positive().default(20_000),
  /** Tries to plug the new device before the VM is left degraded. */
  attachTries: z.number().int().positive().default(3),
  /** Longest wait for the guest agent to answer one question. */
  agentMs: z.number().int().positive().default(15_000),
});
export type Limits = z.infer<typeof Limits>;

/** A mode, or the best that the guest and the VM offer. */
export const ContinuityWish = z.enum([...Continuity.options, 'auto']);
export type ContinuityWish = z.infer<typeof ContinuityWish>;

/** What to do when the new device cannot have all that was set: `adapt` it, or `refuse` to begin. */
export const OnLoss = z.enum(['adapt', 'refuse']);
export type OnLoss = z.infer<typeof OnLoss>;

export const MigrationRequest = z.object({
  vm: z.string().min(1),
  destination: z.string().min(1),
  /** Which device of the destination each direct NIC gets, by the NIC's id; the first free one of its network if left out. */
  devices: z.record(z.string(), z.string()).default({}),
  continuity: ContinuityWish.default('auto'),
  /** Of single NICs, by their id, where it is not `continuity`. */
  continuityOf: z.record(z.string(), ContinuityWish).default({}),
  strategy: Strategy.default('auto'),
  onLoss: OnLoss.default('adapt'),
  dryRun: z.boolean().default(false),
  /** Write into the guest what makes its interfaces the same after its next boot. */
  persist: z.boolean().default(false),
  /** Bytes per second, 0 for as fast as it goes. */
  maxBandwidth: z.number().int().nonnegative().default(0),
  /** Longest blackout that pre-copy may aim at, ms; it aims lower first. */
  downtimeLimitMs: z.number().int().positive().default(300),
  /** Where each disk that moves goes, by its id: a path of the destination; the path that it has if left out. */
  disks: z.record(z.string(), z.string()).default({}),
  /** Of the copy of each disk, bytes per second, 0 for as fast as it goes. */
  diskBandwidth: z.number().int().nonnegative().default(0),
  /** What becomes of the source's images when their disks have moved. */
  oldDisks: OldDisk.default('keep'),
  limits: Limits.default(() => Limits.parse({})),
  /** Thresholds of the strategy that are not to have their defaults. */
  tuning: StrategyTuning.default({}),
});
export type MigrationRequest = z.infer<typeof MigrationRequest>;

/** Checks the shape of what a user asks. @throws INPUT_FIELD or UNKNOWN_MODE naming the first field that is wrong. */
export function parseFields<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue?.path.join('.') || 'request';
  if (issue?.code === 'invalid_value') {
    const given: unknown = issue.path.reduce<unknown>(
      (value, key) => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined),
      input,
    );
    const allowed = issue.values.map(String).join(', ');
    throw new ShadowferryError('UNKNOWN_MODE', { field, value: String(given), allowed });
  }
  throw new ShadowferryError('INPUT_FIELD', { field, problem: issue?.message ?? 'is not valid' });
}

/** Checks a request's shape. @throws INPUT_FIELD or UNKNOWN_MODE naming the first field that is wrong. */
export function parseRequest(input: unknown): MigrationRequest {
  return parseFields(MigrationRequest, input);
}
