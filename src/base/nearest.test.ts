import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editDistance, nearest } from './nearest.ts';

const KNOWN = ['socket', 'state', 'listen', 'tokens', 'clientCa'];

test('a slip of the fingers finds the word that was meant', () => {
  for (const [word, meant] of [
    ['sockt', 'socket'],
    ['scoket', 'socket'],
    ['token', 'tokens'],
    ['clientca', 'clientCa'],
    ['Listen', 'listen'],
  ] as const)
    assert.equal(nearest(word, KNOWN), meant);
});

test('a word that is like none of them is not guessed', () => {
  for (const word of ['', 'x', 'database', 'z'.repeat(10_000)]) assert.equal(nearest(word, KNOWN), undefined);
});

test('the distance is none from a word to itself, and the same both ways', () => {
  const word = fc.string({ maxLength: 12 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      assert.equal(editDistance(a, a), 0);
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.ok(editDistance(a, b) <= Math.max(a.length, b.length));
    }),
  );
});
