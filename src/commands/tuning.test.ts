import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tuningOption } from './tuning.ts';

test('thresholds are numbers and switches, each given once', () => {
  const tuning = tuningOption('stallRounds=3', tuningOption('observeOnly=true', {}));
  assert.deepEqual(tuning, { stallRounds: 3, observeOnly: true });
  assert.throws(() => tuningOption('stallRounds=4', tuning), /"stallRounds" is given twice/);
});

test('what is no threshold, or no value of it, is refused by name', () => {
  assert.throws(() => tuningOption('stalRounds=3', {}), /did you mean "stallRounds"/);
  assert.throws(() => tuningOption('stallRounds', {}), /is not KEY=VALUE/);
  assert.throws(() => tuningOption('stallRounds=0', {}), /stallRounds: /);
  assert.throws(() => tuningOption('stallRounds=', {}), /stallRounds: /);
  assert.throws(() => tuningOption('observeOnly=1', {}), /observeOnly: /);
});
