import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Exploration, explore, traceText } from './explore.ts';

/** Two counters up to `top`, which may be set back by a fault. */
function counters(
  top: number,
  change: Partial<Exploration<[number, number]>> = {},
): Exploration<[number, number]> {
  return {
    initial: [0, 0],
    encode: (state) => state.join(','),
    decode: (text) => {
      const [a = 0, b = 0] = text.split(',').map(Number);
      return [a, b];
    },
    next: ([a, b]) => [
      ...(a < top ? [{ label: 'a', to: [a + 1, b] as [number, number], fault: false }] : []),
      ...(b < top ? [{ label: 'b', to: [a, b + 1] as [number, number], fault: false }] : []),
      ...(a > 0 ? [{ label: 'a is lost', to: [0, b] as [number, number], fault: true }] : []),
    ],
    invariants: {},
    good: ([a, b]) => a === top && b === top,
    ...change,
  };
}

test('each state is counted once, however many ways lead to it', () => {
  const explored = explore(counters(3));
  assert.deepEqual(
    { states: explored.states, depth: explored.depth, good: explored.good, violation: explored.violation },
    { states: 16, depth: 6, good: 1, violation: undefined },
  );
});

test('a broken invariant is shown with one of the shortest ways to it', () => {
  const { violation } = explore(
    counters(9, { invariants: { 'not both at two': ([a, b]) => a < 2 || b < 2 } }),
  );
  assert.ok(violation);
  assert.equal(violation.trace.length, 5);
  assert.match(traceText(violation, String), /^broken: not both at two\nat first\n 1\. [ab]\n.*then: 2,2$/s);
});

test('a state from which no good end can be reached is found, though others are left', () => {
  const trap = counters(3, { good: ([a, b]) => a === 3 && b === 0 });
  const { violation } = explore(trap);
  assert.equal(violation?.broken, 'a good end is left by itself: b');
  const dead = counters(3);
  const all = dead.next;
  const stops = explore({ ...dead, next: (state) => (state[0] === 1 && state[1] === 2 ? [] : all(state)) });
  assert.equal(stops.violation?.broken, 'no good end can be reached');
  assert.deepEqual(stops.violation?.trace.at(-1)?.state, [1, 2]);
});

test('a good end that only a fault leads to does not count', () => {
  const model = counters(1, { good: ([a, b]) => a === 0 && b === 1 });
  const { violation } = explore({ ...model, good: ([a, b]) => a === 0 && b === 1 });
  assert.match(violation?.broken ?? '', /left by itself/);
  const cut = explore({
    ...counters(1),
    next: ([a]) => (a === 0 ? [{ label: 'luck', to: [1, 1] as [number, number], fault: true }] : []),
  });
  assert.equal(cut.violation?.broken, 'no good end can be reached');
});
