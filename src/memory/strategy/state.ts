/** What the strategy knows of a copy while it runs, and how a sample changes it. Pure. */
import { type Behaviour, behaviourOf } from '../version/behaviour.ts';
import { advanceRounds, NO_ROUNDS, type Rounds } from '../version/rounds.ts';
import type { CopySample } from '../version/sample.ts';
import { firstVersion, type MemoryVersion, nextVersion } from '../version/version.ts';
import { advanceLink, type LinkEstimate, NO_LINK } from './link.ts';
import type { StrategyOptions } from './options.ts';

/** Waiting for a round that leaves as little as an earlier one did. */
export interface Waiting {
  /** Bytes. */
  readonly target: number;
  readonly rounds: number;
  /** Rounds that the next, worse target gets. */
  readonly patience: number;
}

export interface CopyState {
  readonly link: LinkEstimate;
  readonly rounds: Rounds;
  readonly version: MemoryVersion;
  readonly behaviour: Behaviour;
  /** Rounds one after another that were no better than the best. */
  readonly stalled: number;
  /** Blackout that QEMU aims at, ms. */
  readonly downtimeMs: number;
  /** Round in which the guest was slowed down. */
  readonly throttledIn: number | undefined;
  readonly waiting: Waiting | undefined;
  /** When post-copy was ordered, ms since the copy began. */
  readonly switchedAtMs: number | undefined;
  /** What was last said that it would be done, where nothing is done. */
  readonly observed: string | undefined;
}

export interface CopyStart {
  /** Epoch of the VM's record. */
  release: number;
  maxDowntimeMs: number;
  /** Post-copy was ordered before the first sample. */
  switched: boolean;
}

export function initialCopy(start: CopyStart, options: StrategyOptions): CopyState {
  return {
    link: NO_LINK,
    rounds: NO_ROUNDS,
    version: firstVersion(start.release),
    behaviour: 'unknown',
    stalled: 0,
    downtimeMs: Math.min(options.firstDowntimeMs, start.maxDowntimeMs),
    throttledIn: undefined,
    waiting: undefined,
    switchedAtMs: start.switched ? 0 : undefined,
    observed: undefined,
  };
}

/** The state after a sample, before anything is decided; `began` when the sample is the first of a round. */
export function look(
  state: CopyState,
  sample: CopySample,
  options: StrategyOptions,
): { seen: CopyState; began: boolean } {
  const { rounds, began } = advanceRounds(state.rounds, sample);
  const link = advanceLink(state.link, sample, options);
  if (!began || rounds.current === undefined) return { seen: { ...state, link, rounds }, began };
  const behaviour = behaviourOf(rounds, options.margin);
  const still = behaviour === 'fixed-set' || behaviour === 'spreading';
  return {
    seen: {
      ...state,
      link,
      rounds,
      version: nextVersion(state.version, rounds.current, sample.pageSize),
      behaviour,
      stalled: still ? state.stalled + 1 : 0,
    },
    began,
  };
}
