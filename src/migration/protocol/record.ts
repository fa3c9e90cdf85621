/**
 * One hand-over and what the ownership record says of it. The record is the one truth: whoever wants to go back makes
 * going forward impossible first: the attempt is withdrawn, which raises the epoch under the same owner (`refused`).
 */
import type { HandOverAttempt, Ownership } from '../../ownership/store.ts';

/** One try to hand a VM over. Every message of a migration carries it. */
export interface HandOver {
  /** The migration's id: of two tries for one VM, each has its own. */
  readonly id: string;
  readonly vm: string;
  readonly source: string;
  readonly destination: string;
  /** The epoch under which the source owned the VM when the migration began. */
  readonly epoch: number;
}

/**
 * `undecided`: the source owns the VM, and the hand-over can still happen.
 * `committed`: the destination owns it by this hand-over.
 * `refused`: the source owns it under the next epoch, so a compare-and-swap that is still on its way must fail.
 * `returned`: the source owns it under a later epoch: it was handed back, or this migration is long over.
 * `elsewhere`: no record, or one that this hand-over cannot lead to.
 * `unreachable`: the store does not answer, so nothing is known.
 */
export const STANDINGS = [
  'undecided',
  'committed',
  'refused',
  'returned',
  'elsewhere',
  'unreachable',
] as const;
export type Standing = (typeof STANDINGS)[number];

/** What a record that was read says of a hand-over. */
export function standingOf(
  handOver: HandOver,
  record: Ownership | undefined,
): Exclude<Standing, 'unreachable'> {
  if (record === undefined) return 'elsewhere';
  const { owner, epoch } = record;
  const since = epoch - handOver.epoch;
  if (owner === handOver.source) {
    if (since === 0) return 'undecided';
    if (since === 1) return 'refused';
    return since > 1 ? 'returned' : 'elsewhere';
  }
  return owner === handOver.destination && since === 1 ? 'committed' : 'elsewhere';
}

/**
 * The commit: `handOver` with this attempt, which only the source's daemon asks for. The refusal is `resolveHandOver` of
 * the same attempt, by either side: what was not committed by then never will be.
 */
export function commitAttempt({ id, vm, source, destination, epoch }: HandOver): HandOverAttempt {
  return { attempt: id, expected: { vm, owner: source, epoch }, to: destination };
}

/** Gives the VM back: only by the destination's daemon, of a VM that never ran there and never will. */
export function returnAttempt({ id, vm, source, destination, epoch }: HandOver): HandOverAttempt {
  return { attempt: `${id}-back`, expected: { vm, owner: destination, epoch: epoch + 1 }, to: source };
}
