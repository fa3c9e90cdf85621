/** A QEMU that copies a guest's memory, in arithmetic: for tests of the strategy. */
import type { CopySample } from '../version/sample.ts';
import { DEFAULT_OPTIONS, type StrategyOptions } from './options.ts';
import { initialCopy } from './state.ts';
import { type CopyDecision, type CopyFacts, supervise } from './supervise.ts';

export interface Simulated {
  totalBytes: number;
  /** Bytes per second at a time. */
  linkBps: (atMs: number) => number;
  /** Bytes that the guest changes in so many ms, from a time on. */
  changed: (forMs: number, atMs: number) => number;
  facts?: Partial<CopyFacts>;
  options?: Partial<StrategyOptions>;
}

export interface SimulatedEnd {
  end: 'completed' | 'postcopy' | 'abort';
  atMs: number;
  decisions: CopyDecision[];
  downtimeMs: number;
}

const STEP_MS = 100;

/** Copies until the strategy or the arithmetic ends it. @throws Error when nothing does for a day of the guest's time */
export function simulateCopy({ totalBytes, linkBps, changed, ...given }: Simulated): SimulatedEnd {
  const facts: CopyFacts = {
    budgetMs: 60_000,
    stallMs: 10_000,
    maxDowntimeMs: 300,
    postcopyAllowed: true,
    throttleOffered: false,
    ...given.facts,
  };
  const options = { ...DEFAULT_OPTIONS, ...given.options };
  let state = initialCopy({ release: 3, maxDowntimeMs: facts.maxDowntimeMs, switched: false }, options);
  const decisions: CopyDecision[] = [];
  let { downtimeMs } = state;
  let [transferred, remaining, round, roundBegan] = [0, totalBytes, 1, 0];
  for (let atMs = 0; atMs < 86_400_000; atMs += STEP_MS) {
    const bps = linkBps(atMs);
    let carry = (bps * STEP_MS) / 1000;
    const sent = Math.min(carry, remaining);
    transferred += sent;
    remaining -= sent;
    carry -= sent;
    if (remaining <= (bps * downtimeMs) / 1000) {
      const dirty = Math.min(totalBytes, changed(atMs - roundBegan, roundBegan));
      round += 1;
      roundBegan = atMs;
      if (bps > 0 && dirty + remaining <= (bps * downtimeMs) / 1000)
        return { end: 'completed', atMs, decisions, downtimeMs };
      remaining = Math.min(totalBytes, remaining + dirty);
    }
    const sample: CopySample = {
      ...{ atMs, transferred, remaining, total: totalBytes, round },
      ...{ dirtyPages: 0, pageSize: 4096, throttlePercent: 0 },
    };
    const { state: next, decision } = supervise(state, sample, facts, options);
    state = next;
    if (decision.action !== 'continue') decisions.push(decision);
    if (decision.action === 'abort' || decision.action === 'postcopy')
      return { end: decision.action, atMs, decisions, downtimeMs };
    if (decision.action === 'raise-downtime') ({ downtimeMs } = decision);
  }
  throw new Error('the copy never ends');
}

const MB = 1e6;
export const GUESTS = {
  idle: (ms: number) => Math.min(2 * MB, ms * 100),
  /** Writes 64 MB over and over. */
  hotSet: (ms: number) => Math.min(64 * MB, ms * MB),
  /** Goes through all its memory, 400 MB/s. */
  scanner: (ms: number) => ms * 0.4 * MB,
} as const;
