import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBytes, formatMs, formatMsExact, formatRate } from './units.ts';

test('bytes are shown in binary units with about three digits', () => {
  const cases: [number, string][] = [
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [1024 * 1023.7, '1 MiB'],
    [268_435_456, '256 MiB'],
    [12.34 * 1024 ** 2, '12.3 MiB'],
    [9.996 * 1024 ** 2, '10 MiB'],
    [3 * 1024 ** 3, '3 GiB'],
    [2 ** 70, '1024 EiB'],
    [-1536, '-1.5 KiB'],
    [Number.NaN, '–'],
    [Number.POSITIVE_INFINITY, '–'],
  ];
  for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text, String(bytes));
});

test('rates are bytes per second', () => {
  assert.equal(formatRate(0), '0 B/s');
  assert.equal(formatRate(1024 ** 2 * 1.25), '1.25 MiB/s');
  assert.equal(formatRate(Number.NaN), '–');
});

test('durations change their unit where the rounded number would', () => {
  const cases: [number, string][] = [
    [0, '0 ms'],
    [0.01, '<0.1 ms'],
    [0.42, '0.4 ms'],
    [4, '4 ms'],
    [9.96, '10 ms'],
    [96.4, '96 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [1912, '1.9 s'],
    [59_949, '59.9 s'],
    [59_960, '1 min 0 s'],
    [125_000, '2 min 5 s'],
    [3_599_600, '1 h 0 min'],
    [3_725_000, '1 h 2 min'],
    [-12, '-12 ms'],
    [Number.NaN, '–'],
  ];
  for (const [ms, text] of cases) assert.equal(formatMs(ms), text, String(ms));
});

test('exact times keep their milliseconds below a minute', () => {
  const cases: [number, string][] = [
    [0, '0 ms'],
    [4.26, '4.3 ms'],
    [999.4, '999 ms'],
    [999.6, '1.000 s'],
    [1503, '1.503 s'],
    [-1503, '-1.503 s'],
    [59_999, '59.999 s'],
    [59_999.7, '1 min 0 s'],
    [125_000, '2 min 5 s'],
    [Number.NaN, '–'],
  ];
  for (const [ms, text] of cases) assert.equal(formatMsExact(ms), text, String(ms));
});

test('a printed size is within one percent of the size', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 50 }), (bytes) => {
      const [value, unit] = formatBytes(bytes).split(' ');
      const power = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].indexOf(unit ?? '');
      assert.ok(power >= 0);
      const shown = Number(value) * 1024 ** power;
      assert.ok(Math.abs(shown - bytes) <= bytes * 0.01, `${shown} for ${bytes}`);
    }),
  );
});
