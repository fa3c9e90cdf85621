import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { byteTicks, timeTicks } from './axis.ts';
import { FIXTURE, FIXTURE_FAILED, FIXTURE_LONG } from './fixture.test-data.ts';
import {
  binned,
  blackoutSpan,
  covered,
  criticalWindow,
  focusWindow,
  longestGap,
  rates,
  wholeWindow,
} from './series.ts';

const sample = (atMs: number, bytes: number) => ({ atMs, bytesIn: bytes, bytesOut: 2 * bytes, echoes: 1 });
const step = (startMs: number, durationMs: number) => ({
  phase: 'copy' as const,
  name: 's',
  startMs,
  durationMs,
  critical: true,
});

test('no sample and one sample give no rate', () => {
  assert.deepEqual(rates([]), []);
  assert.deepEqual(rates([sample(5, 100)]), []);
  assert.deepEqual(rates([sample(5, 100), sample(5, 100)]), []);
});

test('bytes between samples become bytes per second, in order of time', () => {
  assert.deepEqual(rates([sample(20, 50), sample(10, 100)]), [
    { fromMs: 0, toMs: 10, inBps: 10_000, outBps: 20_000, echoes: 1 },
    { fromMs: 10, toMs: 20, inBps: 5_000, outBps: 10_000, echoes: 1 },
  ]);
});

test('samples of one moment count as one', () => {
  const series = rates([sample(0, 10), sample(10, 10), sample(10, 30)]);
  assert.equal(series.length, 2);
  assert.equal(series[1]?.inBps, 4_000);
});

test('binning bounds the number of rates and keeps the bytes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 1e6 })), {
        minLength: 2,
        maxLength: 300,
      }),
      fc.integer({ min: 1, max: 80 }),
      (steps, most) => {
        let atMs = 0;
        const series = rates(
          steps.map(([ms, bytes]) => {
            atMs += ms;
            return sample(atMs, bytes);
          }),
        );
        const bins = binned(series, most);
        const bytes = (rates: typeof series) =>
          rates.reduce((sum, rate) => sum + (rate.inBps * (rate.toMs - rate.fromMs)) / 1000, 0);
        assert.ok(bins.length <= most + 1, `${bins.length} bins for ${most}`);
        assert.ok(Math.abs(bytes(bins) - bytes(series)) <= 1e-6 * bytes(series) + 1e-6);
        bins.forEach((bin, i) => {
          assert.equal(bin.fromMs, i === 0 ? series[0]?.fromMs : bins[i - 1]?.toMs);
        });
      },
    ),
  );
});

test('the longest gap is found, none in none', () => {
  assert.equal(longestGap([]), undefined);
  assert.equal(longestGap(FIXTURE.gaps.tcp)?.ms, 96);
});

test('the blackout is placed by its own start, else by the mark, else not at all', () => {
  const { blackoutStartMs: _, ...withoutStart } = FIXTURE;
  assert.deepEqual(blackoutSpan(FIXTURE), { startMs: 1511, endMs: 1523 });
  assert.deepEqual(blackoutSpan(withoutStart), { startMs: 1511, endMs: 1523 });
  assert.equal(blackoutSpan({ ...withoutStart, marks: [] }), undefined);
  assert.equal(blackoutSpan({ ...FIXTURE, blackoutMs: 0 }), undefined);
});

test('windows hold what happened and are never empty', () => {
  const whole = wholeWindow(FIXTURE);
  assert.ok(whole.startMs < 0 && whole.endMs > FIXTURE.totalMs);
  assert.ok(whole.startMs > -400 && whole.endMs < 2600, 'traffic far from the migration is left out');
  const nothing = {
    ...FIXTURE_FAILED,
    totalMs: 0,
    phases: [],
    marks: [],
    throughput: [],
    gaps: { tcp: [], icmp: [] },
  };
  const empty = wholeWindow(nothing);
  assert.ok(empty.endMs > empty.startMs);
  assert.equal(criticalWindow(nothing), undefined);
});

test('the critical part gets a picture of its own only when it would be too small', () => {
  assert.equal(focusWindow(FIXTURE), undefined);
  const focus = focusWindow(FIXTURE_LONG);
  assert.ok(focus && focus.startMs > 58_000 && focus.startMs < 58_655 && focus.endMs > 59_845);
});

test('overlapping steps are not counted twice, holes and what lies outside not at all', () => {
  const window = { startMs: 100, endMs: 200 };
  assert.equal(covered([], window), 0);
  assert.equal(covered([step(100, 50), step(110, 10), step(120, 40)], window), 60);
  assert.equal(covered([step(0, 110), step(105, 10), step(150, 500), step(500, 10)], window), 65);
});

test('ticks carry a unit that fits, and byte axes reach the maximum', () => {
  assert.ok(timeTicks(0, 400, 5).every((tick) => tick.label.endsWith(' ms')));
  assert.ok(timeTicks(58_000, 59_000, 5).every((tick) => tick.label.endsWith(' s')));
  assert.ok(timeTicks(0, 3_600_000, 5).every((tick) => tick.label.endsWith(' min')));
  assert.deepEqual(byteTicks(0, 4).at(0), { value: 0, label: '0' });
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e17, noNaN: true }), (max) => {
      const ticks = byteTicks(max, 4, '/s');
      assert.ok((ticks.at(-1)?.value ?? 0) >= max, `${max}: ${ticks.at(-1)?.label}`);
      assert.ok((ticks.at(-1)?.value ?? 0) > 0);
      assert.ok(ticks.length <= 12);
      assert.ok(ticks.every((tick) => tick.label.length <= 14));
    }),
  );
});
