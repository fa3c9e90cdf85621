import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from './harness.ts';
import { passive, samePairs } from './passive.ts';

const sample = (cell: string, round: number, value: number): Sample => {
  const names = ['inMiBs', 'outMiBs', 'inWork', 'outWork'];
  const metrics = Object.fromEntries(names.map((name) => [name, value]));
  return { cell, round, load: 0, measurement: { metrics, flags: [], raw: null } };
};
/** As the rounds go: bare, shadow, shadow, bare, bare, shadow. */
const samples = [
  sample('bare', 0, 100),
  sample('shadow', 0, 99),
  sample('shadow', 1, 101),
  sample('bare', 1, 102),
  sample('bare', 2, 100),
  sample('shadow', 2, 99),
];

test('equal states are compared where they follow each other', () => {
  assert.deepEqual(samePairs(samples, 'inMiBs'), [101 / 99, 100 / 102]);
});

test('the goals take pairs of one round, with the share of the slow look, and more CPU is worse', () => {
  const [into, , cpu] = passive.goals(samples);
  const mean = Math.cbrt(0.99 * (101 / 102) * 0.99);
  assert.ok(Math.abs((into?.value ?? 0) - mean * 0.999) < 1e-4);
  assert.ok(Math.abs((cpu?.value ?? 0) - 0.999 / mean) < 1e-4);
  assert.equal(into?.met, false);
  assert.match(into?.id ?? '', /of 3 pairs, equal states/);
});

test('what was not measured meets no goal', () => {
  for (const { met, value } of passive.goals([])) assert.deepEqual([met, value], [false, null]);
});
