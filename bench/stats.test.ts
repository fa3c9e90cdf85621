import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { median, ratioInterval, ratios, spread } from './stats.ts';

test('a spread names the five numbers of a series in any order', () => {
  assert.deepEqual(spread([5, 1, 4, 2, 3]), { n: 5, min: 1, q1: 2, median: 3, q3: 4, max: 5 });
});

test('quartiles and the median interpolate between neighbours', () => {
  assert.deepEqual(spread([10, 20, 30, 40]), { n: 4, min: 10, q1: 17.5, median: 25, q3: 32.5, max: 40 });
});

test('a single measurement is its own spread, and none has no spread', () => {
  assert.deepEqual(spread([7]), { n: 1, min: 7, q1: 7, median: 7, q3: 7, max: 7 });
  assert.equal(spread([]), null);
  assert.equal(median([]), null);
});

test('one wild run does not move the median', () => {
  assert.equal(median([100, 101, 99_999]), 101);
});

test('numbers are ordered as numbers, and the series is left as it was', () => {
  const series = [100, 9, 20];
  assert.equal(median(series), 20);
  assert.deepEqual(series, [100, 9, 20]);
});

test('ratios are taken pair by pair, not of the medians', () => {
  // the machine was three times as slow in the second round, for both
  assert.deepEqual(ratios([110, 330, 120], [100, 300, 100]), [1.1, 1.1, 1.2]);
});

test('a pair that lacks a measurement, or would divide by nothing, is left out', () => {
  assert.deepEqual(ratios([1, null, 4, 5, 6], [2, 3, null, 0]), [0.5]);
});

test('the five numbers are in order and the median of a shuffled series is the same', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 100_000 }), { minLength: 1 }), (values) => {
      const found = spread(values);
      assert.ok(found);
      const { min, q1, median: middle, q3, max } = found;
      assert.deepEqual(
        [min, q1, middle, q3, max],
        [min, q1, middle, q3, max].toSorted((a, b) => a - b),
      );
      assert.equal(min, Math.min(...values));
      assert.equal(max, Math.max(...values));
      assert.equal(middle, median(values.toReversed()));
    }),
  );
});

test('the interval of a ratio is that of its logarithms', () => {
  assert.equal(ratioInterval([0.9]), null);
  const found = ratioInterval([0.5, 2]);
  assert.ok(found);
  assert.ok(Math.abs(found.ratio - 1) < 1e-9, 'half and twice cancel');
  assert.ok(Math.abs(found.low * found.high - 1) < 1e-9);
  const same = ratioInterval([1.01, 1.01, 1.01]);
  assert.ok(same && Math.abs(same.low - 1.01) < 1e-9 && Math.abs(same.high - 1.01) < 1e-9);
  // by hand: logs -0.01, 0, 0.01; s = 0.01; t(2) = 4.303
  const three = ratioInterval([Math.exp(-0.01), 1, Math.exp(0.01)]);
  assert.ok(three && Math.abs(Math.log(three.high) - (4.303 * 0.01) / Math.sqrt(3)) < 1e-6);
});
