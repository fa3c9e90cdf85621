/** What a copy looked like to the strategy, so that the same can be decided again, by this strategy or a later one. Pure. */
import { z } from 'zod';
import type { CopySample } from '../version/sample.ts';
import { StrategyOptions } from './options.ts';
import { initialCopy } from './state.ts';
import { type CopyDecision, supervise } from './supervise.ts';

const count = z.number().nonnegative();

/** atMs, transferred, remaining, round, dirtyPages, throttlePercent: as in `CopySample`. */
const Row = z.array(count).length(6);

export const CopyTrace = z.object({
  format: z.literal(1),
  /** Version of the source's QEMU. */
  qemu: z.string(),
  start: z.object({ release: count, switched: z.boolean(), maxDowntimeMs: count }),
  facts: z.object({
    ...{ budgetMs: count, stallMs: count, maxDowntimeMs: count },
    ...{ postcopyAllowed: z.boolean(), throttleOffered: z.boolean() },
    /** Becomes known while the copy runs: from which sample on. */
    changeBps: count.exactOptional(),
    changeKnownFrom: count.exactOptional(),
  }),
  options: StrategyOptions,
  /** Bytes. */
  total: count,
  pageSize: count,
  samples: z.array(Row),
  /** All but those to continue. */
  decisions: z.array(z.object({ atMs: count, action: z.string(), reason: z.string() })),
  /** Version of the memory at the last sample. */
  version: z.string(),
  /** What QEMU said last: `pre-switchover`, `postcopy-active`, `failed`… */
  end: z.string(),
});
export type CopyTrace = z.infer<typeof CopyTrace>;

/** Every sample is kept for so long, ms; then one a second, and each that begins a round. */
const DENSE_MS = 60_000;
const SPARSE_MS = 1000;

/** Whether a sample goes into a trace. What is left out changes a later decision by little, and a trace stays small. */
export function worthKeeping(sample: CopySample, last: CopySample | undefined): boolean {
  if (last === undefined || sample.atMs <= DENSE_MS) return true;
  return sample.round !== last.round || sample.atMs - last.atMs >= SPARSE_MS;
}

export function rowOf(sample: CopySample): z.infer<typeof Row> {
  const { atMs, transferred, remaining, round, dirtyPages, throttlePercent } = sample;
  return [Math.round(atMs), transferred, remaining, round, dirtyPages, throttlePercent];
}

export function samplesOf({
  samples,
  total,
  pageSize,
}: Pick<CopyTrace, 'samples' | 'total' | 'pageSize'>): CopySample[] {
  return samples.map(
    ([atMs = 0, transferred = 0, remaining = 0, round = 0, dirtyPages = 0, throttlePercent = 0]) => ({
      ...{ atMs, transferred, remaining, round, dirtyPages, throttlePercent },
      ...{ total, pageSize },
    }),
  );
}

/** Decides once more what was decided in a copy, up to the first decision that ends the pre-copy. */
export function replayTrace(
  trace: CopyTrace,
  options: StrategyOptions = trace.options,
): { atMs: number; decision: CopyDecision }[] {
  const { changeBps, changeKnownFrom = 0, ...facts } = trace.facts;
  const decided: { atMs: number; decision: CopyDecision }[] = [];
  let state = initialCopy(trace.start, options);
  for (const [n, sample] of samplesOf(trace).entries()) {
    const known = n >= changeKnownFrom ? { changeBps } : {};
    const { state: next, decision } = supervise(state, sample, { ...facts, ...known }, options);
    state = next;
    if (decision.action !== 'continue') decided.push({ atMs: sample.atMs, decision });
    if (decision.action === 'abort' || decision.action === 'postcopy') break;
  }
  return decided;
}
