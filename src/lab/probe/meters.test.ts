import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Buckets, type Gap, GapMeter, RateLimit, WaitMeter } from './meters.ts';

test('the longest gap lies between two answers; only longer ones than the threshold are told', () => {
  const told: Gap[] = [];
  const meter = new GapMeter(20, (gap) => told.push(gap));
  for (const atMs of [1000, 1002, 1022, 1172, 1174]) meter.answered(atMs);
  assert.equal(meter.longestMs, 150);
  assert.deepEqual(told, [{ startMs: 1022, ms: 150, ended: true }]);
});

test('a gap that has not ended when the probe stops is told as such', () => {
  const told: Gap[] = [];
  const meter = new GapMeter(20, (gap) => told.push(gap));
  meter.answered(1000);
  meter.unanswered(1500);
  assert.equal(meter.longestMs, 500);
  assert.deepEqual(told, [{ startMs: 1000, ms: 500, ended: false }]);
});

test('without any answer there is no gap', () => {
  const meter = new GapMeter(20, () => assert.fail('told'));
  meter.unanswered(1500);
  assert.equal(meter.longestMs, 0);
});

test('waiting counts from when it began first', () => {
  const meter = new WaitMeter();
  meter.end(5);
  meter.begin(10);
  meter.begin(20);
  meter.end(40);
  meter.begin(50);
  meter.end(60);
  assert.equal(meter.longestMs, 30);
});

test('nothing is lost between the buckets, however they are drained', () => {
  const event = fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 9 }), fc.boolean());
  fc.assert(
    fc.property(fc.array(event), (events) => {
      const buckets = new Buckets(20, 2);
      const rows: number[][] = [];
      for (const [atMs, count, drain] of events) {
        buckets.add(atMs, 1, count);
        if (drain) rows.push(...buckets.drain());
      }
      rows.push(...buckets.drain());
      for (const bucket of new Set(rows.map(([number]) => number))) {
        const counted = rows.filter(([number]) => number === bucket);
        const expected = events.filter(([atMs]) => Math.floor(atMs / 20) === bucket);
        assert.equal(
          counted.reduce((sum, row) => sum + (row[2] ?? 0), 0),
          expected.reduce((sum, [, count]) => sum + count, 0),
        );
      }
      assert.equal(
        rows.reduce((sum, row) => sum + (row[2] ?? 0), 0),
        events.reduce((sum, [, count]) => sum + count, 0),
      );
    }),
  );
});

test('a rate is kept on average, and a pause is not made up for', () => {
  const limit = new RateLimit(1_000_000, 0);
  let passed = 0;
  for (let now = 10; now <= 1000; now += 10) {
    const count = limit.available(now);
    limit.take(count);
    passed += count;
  }
  assert.equal(passed, 1_000_000);
  assert.equal(limit.available(11_000), 100_000);
});

test('who has taken too much waits as long as the rate demands', () => {
  const limit = new RateLimit(1_000_000, 0);
  assert.equal(limit.waitMs(0), 0);
  limit.take(8000);
  assert.equal(limit.waitMs(0), 8);
  assert.equal(limit.waitMs(5), 3);
  assert.equal(limit.waitMs(9), 0);
});
