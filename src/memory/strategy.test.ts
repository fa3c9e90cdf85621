import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseStrategy, precopyFault, superviseCopy } from './strategy.ts';

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

test('auto keeps away from a pre-copy that loses pages; whoever asks for it gets it', () => {
  const fault = precopyFault('tcg', { major: 7, minor: 2 });
  assert.match(fault ?? '', /QEMU 7\.2 loses pages/);
  const bridged = { ...facts, continuity: 'bridge', precopyFault: fault } as const;
  assert.deepEqual(chooseStrategy('auto', bridged), { action: 'postcopy', reason: fault });
  assert.equal(chooseStrategy('auto', { ...bridged, postcopy: false }).action, 'precopy');
  assert.equal(chooseStrategy('precopy', bridged).action, 'precopy');
  assert.equal(precopyFault('tcg', { major: 9, minor: 0 }), undefined);
  assert.equal(precopyFault('kvm', { major: 7, minor: 2 }), undefined);
});

const limits = {
  budgetMs: 10_000,
  stallMs: 2_000,
  postcopyAllowed: false,
  downtimeMs: 300,
  maxDowntimeMs: 300,
  downtimeSinceRound: 0,
};
const sample = { atMs: 11_000, transferred: 1, remaining: 2, dirtyRate: 3, round: 9 };

test('a copy over its budget turns to post-copy where allowed, else is taken back', () => {
  assert.equal(superviseCopy({ ...sample, atMs: 9_000 }, 0, 8_900, limits).action, 'continue');
  assert.equal(superviseCopy(sample, 0, 10_900, { ...limits, postcopyAllowed: true }).action, 'postcopy');
  assert.equal(superviseCopy(sample, 0, 10_900, limits).action, 'abort');
});

test('a dead link is never answered with post-copy, in or over the budget', () => {
  for (const budgetMs of [5_000, 60_000]) {
    const decision = superviseCopy(sample, 0, 8_000, { ...limits, budgetMs, postcopyAllowed: true });
    assert.equal(decision.action, 'abort');
    assert.match(decision.reason, /link to the destination is dead/);
  }
});

test("the blackout to aim at is raised step by step, up to the user's limit, while rounds pass without an end", () => {
  const raised: number[] = [];
  let [downtimeMs, downtimeSinceRound] = [20, 1];
  for (let round = 1; round < 30; round += 1) {
    const now = { ...sample, atMs: 1_000, round };
    const decision = superviseCopy(now, 0, 1_000, { ...limits, downtimeMs, downtimeSinceRound });
    if (decision.action !== 'raise-downtime') continue;
    downtimeMs = decision.downtimeMs;
    downtimeSinceRound = round;
    raised.push(downtimeMs);
  }
  assert.deepEqual(raised, [40, 80, 160, 300]);
});
