import assert from 'node:assert/strict';
import { test } from 'node:test';
import { costOf, lostTime } from './cost.ts';

test('cost: the worse of lost work and outage, a part of the time, and a larger one of the risk', () => {
  const moved = { totalMs: 2000, lostMs: 300, outageMs: 500, residualMs: 1000 };
  assert.equal(costOf(moved), 500 + 100 + 100);
  assert.equal(costOf({ ...moved, outageMs: null, residualMs: 0 }), 300 + 100);
});

test('lost time is what is missing against the pace before', () => {
  const at = (atMs: number, done: number) => ({ atMs, done });
  assert.equal(lostTime(at(0, 0), at(1000, 100), at(3000, 250)), 500);
  assert.equal(lostTime(at(0, 0), at(1000, 100), at(3000, 400)), 0);
  assert.equal(lostTime(at(0, 0), at(1000, 0), at(3000, 1)), null);
});
