/** The whole of it: one migration between two hosts, with a number of faults that may come at any time. */
import { type Explored, explore, type Step } from '../explore.ts';
import { destinationSteps } from './destination-steps.test-data.ts';
import type { Rules } from './rules.test-data.ts';
import { outdating, sourceSteps } from './source-steps.test-data.ts';
import { surroundings } from './surroundings.test-data.ts';
import { decode, encode, endOf, firstWorld, INVARIANTS, type World } from './world.test-data.ts';

function* next(rules: Rules, w: World): Generator<Step<World>> {
  for (const steps of [sourceSteps(rules, w), destinationSteps(rules, w), surroundings(rules, w)]) {
    for (const { label, to, fault } of steps) {
      const outdated = to.destinationQemu !== 'none' && (w.outdated || outdating(to));
      yield { label, to: { ...to, outdated }, fault };
    }
  }
}

/** Explores a migration in which up to `faults` things go wrong. */
export function exploreProtocol(rules: Rules, faults: number, initial = firstWorld(faults)): Explored<World> {
  return explore({
    initial,
    encode,
    decode,
    next: (w) => next(rules, w),
    invariants: INVARIANTS,
    good: (w) => endOf(w) !== undefined,
  });
}
