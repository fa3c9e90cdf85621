/** Which way memory moves, and what to do while it moves. Pure: a decision is `{ action, reason }`. */
import { z } from 'zod';

export const Strategy = z.enum(['precopy', 'postcopy', 'auto']);
export type Strategy = z.infer<typeof Strategy>;

export interface StrategyFacts {
  continuity: 'replay' | 'hold' | 'bridge';
  /** Post-copy is offered by both QEMUs and both hosts let them use it. */
  postcopy: boolean;
  /** Why not, when it is not. */
  postcopyMissing?: string;
  /** A device will be attached that needs all memory present (vfio pins it). */
  devicePinsMemory: boolean;
  /** Why pre-copy cannot be trusted on the source, where it cannot; see `precopyFault`. */
  precopyFault?: string | undefined;
}

/**
 * Before QEMU 9.0 its emulator (TCG) forgets, at every round of pre-copy, to look at pages that it has just used: what
 * the guest writes there is not sent again, and its memory is damaged (fixed by QEMU's commit 03bfc2188f).
 */
export function precopyFault(accelerator: 'tcg' | 'kvm', version: { major: number; minor: number }) {
  if (accelerator !== 'tcg' || version.major >= 9) return undefined;
  return `the emulator of QEMU ${version.major}.${version.minor} loses pages in pre-copy`;
}

export type StrategyDecision =
  | { action: 'precopy' | 'postcopy'; reason: string }
  | { action: 'refuse'; reason: string };

/**
 * Chooses how memory moves. With a standby, traffic flows during the copy, so pre-copy's safety is free; without one
 * the outage lasts as long as the copy, and post-copy takes RAM size out of it.
 */
export function chooseStrategy(requested: Strategy, facts: StrategyFacts): StrategyDecision {
  const missing = facts.postcopyMissing ?? 'post-copy is not available';
  switch (requested) {
    case 'precopy':
      return { action: 'precopy', reason: 'asked for' };
    case 'postcopy':
      return facts.postcopy
        ? { action: 'postcopy', reason: 'asked for' }
        : { action: 'refuse', reason: missing };
    case 'auto':
      if (facts.precopyFault !== undefined && facts.postcopy && !facts.devicePinsMemory)
        return { action: 'postcopy', reason: facts.precopyFault };
      if (facts.continuity === 'bridge') {
        return {
          action: 'precopy',
          reason: 'the standby carries traffic during the copy, and pre-copy survives a lost link',
        };
      }
      if (facts.devicePinsMemory) {
        return {
          action: 'precopy',
          reason: 'the new device pins all memory, so it must be there before the attach',
        };
      }
      if (!facts.postcopy) return { action: 'precopy', reason: missing };
      return {
        action: 'postcopy',
        reason: 'no traffic flows during the copy, and post-copy does not grow with memory',
      };
    default:
      return requested satisfies never;
  }
}

/** What QEMU reports of a running copy, in bytes and bytes per second. */
export interface CopySample {
  atMs: number;
  transferred: number;
  remaining: number;
  dirtyRate: number;
  /** Rounds of the dirty log so far. */
  round: number;
}

export interface CopyLimits {
  /** Longest time the copy may take. */
  budgetMs: number;
  /** Longest time without a byte sent before the link counts as dead. */
  stallMs: number;
  postcopyAllowed: boolean;
  /** Blackout that QEMU aims at now, and the longest it may be allowed to aim at. */
  downtimeMs: number;
  maxDowntimeMs: number;
  /** Round in which `downtimeMs` was set. */
  downtimeSinceRound: number;
}

/**
 * Blackout to aim at first. QEMU stops the VM as soon as it could send the rest within its limit, so a generous limit
 * is a long blackout even for a guest that would have converged to a short one.
 */
export const FIRST_DOWNTIME_MS = 20;

/** Rounds over memory that may pass without reaching the limit before it is doubled. */
export const PATIENCE_ROUNDS = 3;

export type CopyDecision =
  | { action: 'continue' | 'postcopy' | 'abort'; reason: string }
  | { action: 'raise-downtime'; downtimeMs: number; reason: string };

function withinBudget(sample: CopySample, limits: CopyLimits): CopyDecision {
  const { budgetMs, downtimeMs, maxDowntimeMs } = limits;
  const rounds = sample.round - limits.downtimeSinceRound;
  if (rounds < PATIENCE_ROUNDS || downtimeMs >= maxDowntimeMs) {
    return { action: 'continue', reason: `within the budget of ${budgetMs} ms` };
  }
  const raised = Math.min(downtimeMs * 2, maxDowntimeMs);
  const reason = `${rounds} rounds did not come down to a blackout of ${downtimeMs} ms: ${raised} ms are allowed now`;
  return { action: 'raise-downtime', downtimeMs: raised, reason };
}

/**
 * Decides what to do with a pre-copy that runs: within its budget it goes on; after it, post-copy if allowed, else back.
 * Over a link that carries nothing post-copy would lose the VM, so that is always the way back.
 * @param progressedAtMs when a byte was last seen to be sent
 */
export function superviseCopy(
  sample: CopySample,
  startedAtMs: number,
  progressedAtMs: number,
  limits: CopyLimits,
): CopyDecision {
  const quiet = sample.atMs - progressedAtMs;
  if (quiet > limits.stallMs) {
    return {
      action: 'abort',
      reason: `nothing was sent for ${Math.round(quiet)} ms: the link to the destination is dead`,
    };
  }
  const elapsed = sample.atMs - startedAtMs;
  if (elapsed <= limits.budgetMs) return withinBudget(sample, limits);
  const late = `not done after ${Math.round(elapsed)} ms (${sample.remaining} bytes remain, round ${sample.round})`;
  return limits.postcopyAllowed
    ? { action: 'postcopy', reason: `${late}: the rest follows after the switchover` }
    : { action: 'abort', reason: `${late}, and post-copy is not allowed` };
}
