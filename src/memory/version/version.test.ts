import assert from 'node:assert/strict';
import { test } from 'node:test';
import { behaviourOf } from './behaviour.ts';
import { advanceRounds, NO_ROUNDS, ROUNDS_KEPT, type Rounds } from './rounds.ts';
import type { CopySample } from './sample.ts';
import { exactVersion, firstVersion, nextVersion, released, versionText } from './version.ts';

const PAGE = 4096;
const sample = (round: number, pages: number, atMs = round * 100): CopySample => ({
  ...{ atMs, round, remaining: pages * PAGE, transferred: atMs, total: 1000 * PAGE },
  ...{ dirtyPages: 0, pageSize: PAGE, throttlePercent: 0 },
});

/** Rounds and version after what each round found dirty, in pages. */
function after(dirtied: readonly number[]) {
  let rounds: Rounds = NO_ROUNDS;
  let version = firstVersion(7);
  for (const [n, pages] of dirtied.entries()) {
    ({ rounds } = advanceRounds(rounds, sample(n + 1, pages)));
    if (rounds.current !== undefined) version = nextVersion(version, rounds.current, PAGE);
  }
  return { rounds, version };
}

test('the first round is a generation of its own, and dirties nothing', () => {
  const { version } = after([1000]);
  assert.equal(versionText(version), '~7.1.0.0');
});

test('what goes beyond any earlier round is new; the rest may be the same again', () => {
  assert.equal(versionText(after([1000, 300]).version), '~7.2.300.0');
  assert.equal(versionText(after([1000, 300, 200]).version), '~7.3.300.200');
  assert.equal(versionText(after([1000, 300, 200, 350]).version), '~7.4.350.500');
});

test('who sees the pages counts them', () => {
  const version = exactVersion(firstVersion(7), { generation: 2, first: 10, again: 5 });
  assert.equal(versionText(exactVersion(version, { generation: 3, first: 1, again: 2 })), '7.3.11.7');
  assert.equal(versionText(released(8)), '8.0.0.0');
});

test('behaviour: shrinking, standing still, spreading; nothing is said of the first round', () => {
  const of = (dirtied: number[]) => behaviourOf(after(dirtied).rounds, 0.04);
  assert.equal(of([1000]), 'unknown');
  assert.equal(of([1000, 300]), 'unknown');
  assert.equal(of([1000, 300, 200]), 'shrinking');
  assert.equal(of([1000, 300, 295]), 'fixed-set');
  assert.equal(of([1000, 300, 400]), 'spreading');
  assert.equal(of([1000, 300, 200, 250]), 'fixed-set');
});

test('samples within a round keep its beginning and its least; rounds that were not seen are no rounds', () => {
  let { rounds } = advanceRounds(NO_ROUNDS, sample(1, 1000, 0));
  ({ rounds } = advanceRounds(rounds, sample(1, 400, 50)));
  const next = advanceRounds(rounds, sample(4, 90, 100));
  assert.equal(next.began, true);
  assert.deepEqual(next.rounds.ended, [{ number: 1, beganMs: 0, dirtied: 1000 * PAGE, least: 400 * PAGE }]);
  assert.equal(next.rounds.current?.number, 4);
});

test('a copy of thousands of rounds keeps what decisions look at', () => {
  const { rounds, version } = after(Array.from({ length: 5000 }, () => 10));
  assert.equal(rounds.ended.length, ROUNDS_KEPT);
  assert.equal(versionText(version), `~7.5000.10.${4998 * 10}`);
});
