/**
 * The rounds of a pre-copy, from samples. QEMU tells no round's start: a sample with a higher count shows that one began
 * since the sample before, and `remaining` is then what was found dirty. Pure.
 */
import type { CopySample } from './sample.ts';

export interface Round {
  /** QEMU's number of it. */
  readonly number: number;
  readonly beganMs: number;
  /** What was to be sent when it began, bytes: in the first round all memory, then what was dirtied in the round before. */
  readonly dirtied: number;
  /** The least that was left in it, bytes. */
  readonly least: number;
}

export interface Rounds {
  readonly current: Round | undefined;
  /** Those that ended, the first one first; the last {@link ROUNDS_KEPT}. */
  readonly ended: readonly Round[];
}

/** More than any decision looks back. QEMU makes hundreds of rounds a second when it is close to the end. */
export const ROUNDS_KEPT = 32;

export const NO_ROUNDS: Rounds = { current: undefined, ended: [] };

/** Rounds after one more sample; `began` when it is the first sample of a round. */
export function advanceRounds(
  { current, ended }: Rounds,
  sample: CopySample,
): { rounds: Rounds; began: boolean } {
  const { round: number, atMs: beganMs, remaining } = sample;
  if (current !== undefined && number <= current.number) {
    const least = Math.min(current.least, remaining);
    return { rounds: { current: { ...current, least }, ended }, began: false };
  }
  const dirtied = current === undefined ? Math.max(sample.total, remaining) : remaining;
  const begun = { number, beganMs, dirtied, least: remaining };
  const past = current === undefined ? ended : [...ended, current].slice(-ROUNDS_KEPT);
  return { rounds: { current: begun, ended: past }, began: true };
}
