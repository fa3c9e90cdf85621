import assert from 'node:assert/strict';
import { test } from 'node:test';
import { together } from './together.ts';

test('all are acted on at once, and the results keep their order', async () => {
  const gates = [0, 1, 2].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const all = together([0, 1, 2], async (n) => {
    begun.push(n);
    await gates[n]?.promise;
    return n * 10;
  });
  assert.deepEqual(begun, [0, 1, 2]);
  for (const gate of gates.toReversed()) gate.resolve();
  assert.deepEqual(await all, [0, 10, 20]);
});

test('a failure is told when the others have ended, and it is the first in order', async () => {
  const slow = Promise.withResolvers<void>();
  let ended = false;
  const all = together(['a', 'b', 'c'], async (name) => {
    if (name === 'a') {
      await slow.promise;
      ended = true;
    } else throw new Error(name);
  });
  let told = false;
  const seen = all.catch((error: unknown) => {
    told = true;
    assert.ok(ended);
    assert.ok(error instanceof Error && error.message === 'b');
  });
  await new Promise(setImmediate);
  assert.equal(told, false);
  slow.resolve();
  await seen;
  assert.equal(told, true);
});
