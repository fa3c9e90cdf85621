import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeThroughput } from './throughput.ts';

test('the series of two probes are laid over each other, and an outage shows as zeros', () => {
  const series = mergeThroughput(
    [
      [100, 5],
      [103, 4],
    ],
    [
      [101, 10, 20],
      [101, 1, 2],
      [104, 7, 0],
    ],
    20,
  );
  assert.deepEqual(series, [
    { atMs: 2000, bytesIn: 0, bytesOut: 0, echoes: 5 },
    { atMs: 2020, bytesIn: 11, bytesOut: 22, echoes: 0 },
    { atMs: 2040, bytesIn: 0, bytesOut: 0, echoes: 0 },
    { atMs: 2060, bytesIn: 0, bytesOut: 0, echoes: 4 },
    { atMs: 2080, bytesIn: 7, bytesOut: 0, echoes: 0 },
  ]);
});

test('nothing measured is no series', () => {
  assert.deepEqual(mergeThroughput([], [], 20), []);
});
