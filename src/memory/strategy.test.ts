import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseStrategy, superviseCopy } from './strategy.ts';

const facts = { continuity: 'hold', postcopy: true, devicePinsMemory: false } as const;

test('auto: a standby means pre-copy, no standby means post-copy', () => {
  assert.equal(chooseStrategy('auto', { ...facts, continuity: 'bridge' }).action, 'precopy');
  assert.equal(chooseStrategy('auto', facts).action, 'postcopy');
  assert.equal(chooseStrategy('auto', { ...facts, continuity: 'replay' }).action, 'postcopy');
});

test('auto falls back to pre-copy and says why; an explicit post-copy is refused instead', () => {
  const without = { ...facts, postcopy: false, postcopyMissing: 'userfaultfd needs root' };
  assert.deepEqual(chooseStrategy('auto', without), { action: 'precopy', reason: 'userfaultfd needs root' });
  assert.deepEqual(chooseStrategy('postcopy', without), {
    action: 'refuse',
    reason: 'userfaultfd needs root',
  });
});

test('a device that pins memory is attached after pre-copy', () => {
  assert.equal(chooseStrategy('auto', { ...facts, devicePinsMemory: true }).action, 'precopy');
});

test('a copy over its budget turns to post-copy where allowed, else is taken back', () => {
  const sample = { atMs: 11_000, transferred: 1, remaining: 2, dirtyRate: 3, round: 9 };
  assert.equal(
    superviseCopy({ ...sample, atMs: 9_000 }, 0, { budgetMs: 10_000, postcopyAllowed: false }).action,
    'continue',
  );
  assert.equal(superviseCopy(sample, 0, { budgetMs: 10_000, postcopyAllowed: true }).action, 'postcopy');
  assert.equal(superviseCopy(sample, 0, { budgetMs: 10_000, postcopyAllowed: false }).action, 'abort');
});
