/** Which way memory begins to move. Pure: a decision is `{ action, reason }`. What is done on the way: `supervise.ts`. */
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
