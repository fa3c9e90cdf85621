import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseStrategy, precopyFault } from './choose.ts';

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
