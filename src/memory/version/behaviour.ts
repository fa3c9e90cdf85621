/** What a guest does to its memory, from how its version grows from round to round. Pure. */
import type { Rounds } from './rounds.ts';

/**
 * - `unknown`: too few rounds;
 * - `shrinking`: each round leaves less than the best one before: pre-copy comes to its end;
 * - `fixed-set`: the same amount again, corrections without features: pre-copy stands still;
 * - `spreading`: more than ever before: features grow, as with a writer that goes through memory.
 */
export type Behaviour = 'unknown' | 'shrinking' | 'fixed-set' | 'spreading';

/**
 * @param margin share by which a round must differ from the best, or the worst, before it, to count as other than noise
 */
export function behaviourOf({ current, ended }: Rounds, margin: number): Behaviour {
  // the first round is all of memory: it says nothing of what the guest writes
  const before = ended.filter((round) => round.number > 1).map(({ dirtied }) => dirtied);
  if (current === undefined || before.length === 0) return 'unknown';
  if (current.dirtied <= Math.min(...before) * (1 - margin)) return 'shrinking';
  return current.dirtied >= Math.max(...before) * (1 + margin) ? 'spreading' : 'fixed-set';
}
