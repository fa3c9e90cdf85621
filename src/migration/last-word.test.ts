import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLastWord } from './last-word.ts';

const nothing = { attached: false, cleaned: false, gone: false };

test('a device that did not come, and work left in the guest, are the destination’s last word', () => {
  assert.equal(isLastWord({ ...nothing, phase: 'attach', attached: true }), true);
  assert.equal(isLastWord({ ...nothing, phase: 'settle', attached: true, cleaned: true }), true);
});

test('while it has said nothing, or the source still holds memory, the table is asked', () => {
  assert.equal(isLastWord({ ...nothing, phase: 'attach' }), false);
  assert.equal(isLastWord({ ...nothing, phase: 'switchover' }), false);
  assert.equal(isLastWord({ ...nothing, phase: 'settle', attached: true }), false);
});

test('a VM that ended there is not degraded, whatever was said before', () => {
  assert.equal(isLastWord({ phase: 'attach', attached: true, cleaned: false, gone: true }), false);
  assert.equal(isLastWord({ phase: 'settle', attached: true, cleaned: true, gone: true }), false);
});
