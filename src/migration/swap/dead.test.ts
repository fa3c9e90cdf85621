import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headlessInterface } from './dead.ts';

test('the interface with the MAC of the device is the one that lost it', () => {
  assert.equal(headlessInterface('empty bond9\nmac lan0\n'), 'lan0');
});

test('without such a one it is the only bond without members', () => {
  assert.equal(headlessInterface('empty lan 0\n'), 'lan 0');
});

test('where there are several it cannot be told', () => {
  assert.equal(headlessInterface('mac lan0\nmac lan1\nempty bond9\n'), undefined);
  assert.equal(headlessInterface('empty lan0\nempty bond9\n'), undefined);
  assert.equal(headlessInterface(''), undefined);
});
