/**
 * What to do with a pre-copy while it runs. Pure: a state and a sample give a decision with its reason, and the next
 * state. The rules, and where they come from, are in docs/memory.md.
 */
import type { Round } from '../version/rounds.ts';
import type { CopySample } from '../version/sample.ts';
import { versionText } from '../version/version.ts';
import type { StrategyOptions } from './options.ts';
import { type CopyState, look, type Waiting } from './state.ts';

/** What does not change while memory is copied. */
export interface CopyFacts {
  /** Longest time of a pre-copy, ms. */
  budgetMs: number;
  /** Longest time without a byte sent before the link counts as dead, ms. */
  stallMs: number;
  /** Longest blackout that may be aimed at, ms. */
  maxDowntimeMs: number;
  postcopyAllowed: boolean;
  /** QEMU can slow the guest down. */
  throttleOffered: boolean;
  /** How much of its memory the guest changed in a second before the copy began, bytes; undefined when it was not measured. */
  changeBps?: number | undefined;
}

export type CopyDecision =
  | { action: 'continue' | 'wait' | 'postcopy' | 'throttle' | 'abort' | 'observe'; reason: string }
  | { action: 'raise-downtime'; downtimeMs: number; reason: string };

export interface Supervised {
  state: CopyState;
  decision: CopyDecision;
}

/** A blackout that is aimed at must leave room for what the guest dirties until it stops. */
const HEADROOM = 1.25;

const mib = (bytes: number) => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
const rate = (bps: number) => `${(bps / 1e6).toFixed(1)} MB/s`;

/** Bytes per second of the link; before there is an average, of all that was sent. */
function linkBps({ link }: CopyState, { transferred, atMs }: CopySample): number {
  return Math.max(1, link.bps ?? (transferred * 1000) / Math.max(1, atMs));
}

/**
 * Why post-copy must not be begun; undefined when it may. Over a link that carries nothing it would lose the VM, and what
 * could not end in time is no way out. The bound is KubeVirt's (VEP 248).
 */
export function postcopyHindrance(
  state: CopyState,
  sample: CopySample,
  facts: CopyFacts,
  options: StrategyOptions,
): string | undefined {
  if (!facts.postcopyAllowed) return 'post-copy is not allowed';
  const quiet = sample.atMs - state.link.progressedAtMs;
  if (quiet > options.quietMs) return `nothing was sent for ${Math.round(quiet)} ms`;
  if (state.link.drops > 0)
    return `the link dropped for more than ${options.dropMs} ms, and post-copy would not survive that`;
  const bps = linkBps(state, sample);
  const needMs = (sample.remaining * 1000) / bps;
  const leftMs = facts.budgetMs * options.postcopyBudgets - sample.atMs;
  if (needMs <= leftMs) return undefined;
  const need = `the rest (${mib(sample.remaining)} at ${rate(bps)}) takes ${Math.round(needMs)} ms`;
  return `${need}, and post-copy has ${Math.max(0, Math.round(leftMs))}`;
}

/** What ends a copy whatever it does: a dead link, a budget that is used up, a switch that does not come. */
function hardLimits(
  state: CopyState,
  sample: CopySample,
  facts: CopyFacts,
  options: StrategyOptions,
): CopyDecision | undefined {
  const quiet = sample.atMs - state.link.progressedAtMs;
  if (quiet > facts.stallMs) {
    const reason = `nothing was sent for ${Math.round(quiet)} ms: the link to the destination is dead`;
    return { action: 'abort', reason };
  }
  if (state.switchedAtMs !== undefined) {
    const since = sample.atMs - state.switchedAtMs;
    if (since <= options.switchMs) return undefined;
    return { action: 'abort', reason: `QEMU did not switch to post-copy within ${Math.round(since)} ms` };
  }
  if (sample.atMs <= facts.budgetMs) return undefined;
  const late = `not done after ${Math.round(sample.atMs)} ms (${sample.remaining} bytes remain, round ${sample.round})`;
  const hindrance = postcopyHindrance(state, sample, facts, options);
  return hindrance === undefined
    ? { action: 'postcopy', reason: `${late}: the rest follows after the switchover` }
    : { action: 'abort', reason: `${late}, and ${hindrance}` };
}

/**
 * Why no number of rounds will do, known in the first round or right after it; undefined when they may. What a guest
 * changes in a time t grows less than t does, as pages are changed again: where it outruns the link over the long first
 * round, it does so over every shorter one.
 */
function hopeless(
  state: CopyState,
  sample: CopySample,
  began: boolean,
  facts: CopyFacts,
  options: StrategyOptions,
): string | undefined {
  const bps = linkBps(state, sample);
  const { current, ended } = state.rounds;
  const last = ended.at(-1);
  if (began && current !== undefined && last?.number === 1) {
    const changedBps = (current.dirtied * 1000) / Math.max(1, current.beganMs - last.beganMs);
    const impliedMs = (current.dirtied * 1000) / bps;
    if (changedBps < bps * options.hopelessRatio || impliedMs <= facts.maxDowntimeMs) return undefined;
    return `the guest changed ${mib(current.dirtied)} while the link carried no more (${rate(bps)})`;
  }
  const measured =
    current?.number === 1 &&
    ended.length === 0 &&
    sample.atMs >= options.measureMs &&
    state.link.bps !== undefined;
  if (!measured || facts.changeBps === undefined || facts.changeBps < bps * options.hopelessRatio)
    return undefined;
  return `the guest changes ${mib(facts.changeBps)} in a second, and the link carries ${rate(bps)}`;
}

/** The rounds of the copy that say what the guest dirties: not the first, which is all of memory. */
function written({ rounds }: CopyState): readonly Round[] {
  return rounds.ended.filter(({ number }) => number > 1);
}

/** The next target when no round came down to the last one, or undefined when any round will do. */
function nextWaiting(state: CopyState, waiting: Waiting): Waiting | undefined {
  if (waiting.patience === 0) return undefined;
  const worse = written(state)
    .map(({ dirtied }) => dirtied)
    .filter((dirtied) => dirtied > waiting.target)
    .toSorted((a, b) => a - b)[0];
  if (worse === undefined) return undefined;
  return { target: worse, rounds: waiting.patience, patience: Math.floor(waiting.patience / 2) };
}

/** Whether this round is as good as it gets, or is to be waited for; after KubeVirt's search for a local minimum. */
function localMinimum(
  state: CopyState,
  round: Round,
  { margin, patienceRounds }: StrategyOptions,
): Waiting | undefined {
  const best = Math.min(...written(state).map(({ dirtied }) => dirtied));
  const before = state.waiting ?? {
    target: best,
    rounds: patienceRounds,
    patience: Math.floor(patienceRounds / 2),
  };
  if (round.dirtied <= before.target * (1 + margin)) return undefined;
  return before.rounds > 0 ? { ...before, rounds: before.rounds - 1 } : nextWaiting(state, before);
}

function postcopy(state: CopyState, sample: CopySample, reason: string): Supervised {
  return {
    state: { ...state, switchedAtMs: sample.atMs, waiting: undefined },
    decision: { action: 'postcopy', reason },
  };
}

/** What is done about a copy that stands still, the gentlest means first. */
function help(
  state: CopyState,
  round: Round,
  sample: CopySample,
  facts: CopyFacts,
  options: StrategyOptions,
): Supervised {
  const bps = linkBps(state, sample);
  const needMs = Math.ceil(((round.dirtied * 1000) / bps) * HEADROOM);
  const still = `${state.stalled} rounds stand still at ${mib(round.dirtied)} (${state.behaviour}, version ${versionText(state.version)})`;
  const { downtimeMs } = state;
  const raise = (to: number, why: string): Supervised => {
    const raised = Math.min(to, facts.maxDowntimeMs);
    return {
      state: { ...state, downtimeMs: raised, stalled: 0 },
      decision: {
        action: 'raise-downtime',
        downtimeMs: raised,
        reason: `${still}: ${why}, ${raised} ms are allowed now`,
      },
    };
  };
  if (downtimeMs < facts.maxDowntimeMs && needMs <= facts.maxDowntimeMs)
    return raise(Math.max(needMs, 2 * downtimeMs), `a blackout of ${needMs} ms would do`);
  if (options.throttle && facts.throttleOffered) {
    if (state.throttledIn === undefined) {
      return {
        state: { ...state, throttledIn: round.number, stalled: 0 },
        decision: { action: 'throttle', reason: `${still}: the guest is slowed down` },
      };
    }
    if (round.number - state.throttledIn < options.throttleRounds) {
      const reason = `${still}: the guest is slowed down by ${sample.throttlePercent} %`;
      return { state, decision: { action: 'continue', reason } };
    }
  }
  const hindrance = postcopyHindrance(state, sample, facts, options);
  if (hindrance === undefined) {
    const waiting = localMinimum(state, round, options);
    if (waiting === undefined)
      return postcopy(state, sample, `${still}, which would be a blackout of ${needMs} ms: the rest follows`);
    const reason = `${still}: waiting for a round as small as ${mib(waiting.target)}`;
    return { state: { ...state, waiting }, decision: { action: 'wait', reason } };
  }
  if (downtimeMs < facts.maxDowntimeMs)
    return raise(facts.maxDowntimeMs, `${hindrance}; a smaller round may fit`);
  return { state, decision: { action: 'continue', reason: `${still}; ${hindrance}` } };
}

function soft(
  state: CopyState,
  sample: CopySample,
  began: boolean,
  facts: CopyFacts,
  options: StrategyOptions,
): Supervised {
  const hopelessly = hopeless(state, sample, began, facts, options);
  if (
    hopelessly !== undefined &&
    postcopyHindrance(state, sample, facts, options) === undefined &&
    !options.throttle
  )
    return postcopy(state, sample, `${hopelessly}: the rest follows after the switchover`);
  const { current } = state.rounds;
  if (began && current !== undefined && state.stalled >= options.stallRounds)
    return help(state, current, sample, facts, options);
  const reason = `${state.behaviour}, within the budget of ${facts.budgetMs} ms`;
  return { state, decision: { action: 'continue', reason } };
}

/** In observe-only mode a decision is told once and not done, so the state goes on as if it had not been made. */
function observe(state: CopyState, { decision }: Supervised): Supervised {
  const { action, reason } = decision;
  if (action === 'continue') return { state, decision };
  if (state.observed === action) return { state, decision: { action: 'continue', reason: 'only observed' } };
  return {
    state: { ...state, observed: action },
    decision: { action: 'observe', reason: `would ${action}: ${reason}` },
  };
}

/** Decides what to do after one sample. An `abort` is the last word; whoever calls does what is decided. */
export function supervise(
  before: CopyState,
  sample: CopySample,
  facts: CopyFacts,
  options: StrategyOptions,
): Supervised {
  const { seen: state, began } = look(before, sample, options);
  const hard = hardLimits(state, sample, facts, options);
  if (hard?.action === 'postcopy') return postcopy(state, sample, hard.reason);
  if (hard !== undefined) return { state, decision: hard };
  if (state.switchedAtMs !== undefined)
    return { state, decision: { action: 'continue', reason: 'post-copy is ordered' } };
  const supervised = soft(state, sample, began, facts, options);
  return options.observeOnly ? observe(state, supervised) : supervised;
}
