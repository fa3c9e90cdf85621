import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longestAway } from './gaps.ts';

test('gaps with hardly an answer between them are one', () => {
  const gaps = [
    { startMs: 20, ms: 831 },
    { startMs: 880, ms: 789 },
  ];
  assert.equal(longestAway(gaps, 50), 1649);
});

test('gaps further apart stay apart, in whatever order they are told', () => {
  const gaps = [
    { startMs: 400, ms: 30 },
    { startMs: 0, ms: 100 },
    { startMs: 151, ms: 90 },
  ];
  assert.equal(longestAway(gaps, 50), 100);
});

test('without gaps nothing was away', () => {
  assert.equal(longestAway([], 50), 0);
});
