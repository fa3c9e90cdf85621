import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { swapRequestOf } from './swap.ts';

const refused = (code: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === code;

test('what is typed becomes the request', () => {
  const request = swapRequestOf('rescue', 'web1', 'net0', { with: 'nic1', continuity: 'hold', limit: 5000 });
  const { kind, vm, device, continuity, dryRun, limits } = request;
  assert.deepEqual([kind, vm, device, request.with], ['rescue', 'web1', 'net0', 'nic1']);
  assert.deepEqual([continuity, dryRun, limits.attachMs], ['hold', false, 5000]);
});

test('what is left out is decided later', () => {
  const { device, continuity } = swapRequestOf('swap', 'web1', undefined, { with: 'nic1', dryRun: true });
  assert.deepEqual([device, continuity], [undefined, 'auto']);
});

test('a mode that is none, and an empty device, are named', () => {
  assert.throws(
    () => swapRequestOf('swap', 'web1', undefined, { with: 'nic1', continuity: 'hodl' }),
    refused('UNKNOWN_MODE'),
  );
  assert.throws(() => swapRequestOf('swap', 'web1', undefined, { with: '' }), refused('INPUT_FIELD'));
});
