import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { CopySample } from '../version/sample.ts';
import { DEFAULT_OPTIONS, optionsOf, StrategyOptions } from './options.ts';
import { GUESTS, simulateCopy } from './simulated-copy.test-data.ts';
import { initialCopy } from './state.ts';
import { type CopyFacts, supervise } from './supervise.ts';

const GBIT = () => 125e6;
const TOTAL = 1024 * 1024 * 1024;
const guest = (changed: (ms: number, atMs: number) => number, more = {}) => ({
  ...{ totalBytes: TOTAL, linkBps: GBIT, changed },
  ...more,
});

test('an idle guest is left to pre-copy, with the blackout that is aimed at first', () => {
  const { end, decisions, downtimeMs } = simulateCopy(guest(GUESTS.idle));
  assert.equal(end, 'completed');
  assert.deepEqual(decisions, []);
  assert.equal(downtimeMs, DEFAULT_OPTIONS.firstDowntimeMs);
});

test('a working set that fits a longer blackout, which is allowed, gets it at once', () => {
  const small = (ms: number) => Math.min(16e6, ms * 1e6);
  const { end, decisions, downtimeMs } = simulateCopy(guest(small));
  assert.equal(end, 'completed');
  assert.deepEqual(
    decisions.map(({ action }) => action),
    ['raise-downtime'],
  );
  assert.ok(downtimeMs > 128 && downtimeMs <= 300, `${downtimeMs} ms`);
});

test('a working set that does not fit goes by post-copy soon, long before the budget', () => {
  const { end, atMs, decisions } = simulateCopy(guest(GUESTS.hotSet));
  assert.equal(end, 'postcopy');
  const firstRoundMs = (TOTAL / GBIT()) * 1000;
  assert.ok(atMs < firstRoundMs + 4000, `${atMs} ms`);
  assert.match(decisions.at(-1)?.reason ?? '', /stand still.*fixed-set, version ~3\.\d+\.\d+\.\d+/);
});

test('without post-copy it is given the longest blackout, and taken back when its time is over', () => {
  const never = guest(GUESTS.hotSet, { facts: { postcopyAllowed: false, budgetMs: 20_000 } });
  const { end, atMs, decisions } = simulateCopy(never);
  assert.equal(end, 'abort');
  assert.equal(atMs, 20_100);
  assert.deepEqual(
    decisions.map(({ action }) => action),
    ['raise-downtime', 'abort'],
  );
});

test('a guest that outruns the link is not copied for rounds: known before, in the first; else after it', () => {
  const known = simulateCopy(guest(GUESTS.scanner, { facts: { changeBps: 400e6 } }));
  assert.equal(known.end, 'postcopy');
  assert.ok(known.atMs <= DEFAULT_OPTIONS.measureMs, `${known.atMs} ms`);
  const unknown = simulateCopy(guest(GUESTS.scanner));
  assert.equal(unknown.end, 'postcopy');
  assert.ok(unknown.atMs < (TOTAL / GBIT()) * 1000 + 500, `${unknown.atMs} ms`);
});

test('a guest that becomes calm again is waited for where post-copy is not allowed', () => {
  const midway = (ms: number, atMs: number) => (atMs < 15_000 ? GUESTS.hotSet(ms) : GUESTS.idle(ms));
  const { end, atMs } = simulateCopy(guest(midway, { facts: { postcopyAllowed: false } }));
  assert.equal(end, 'completed');
  assert.ok(atMs < 20_000);
});

test('a guest may be slowed down first, where that is wanted', () => {
  const slowed = guest(GUESTS.hotSet, { facts: { throttleOffered: true }, options: { throttle: true } });
  const actions = simulateCopy(slowed).decisions.map(({ action }) => action);
  assert.deepEqual(actions, ['throttle', 'postcopy']);
});

test('a link that dropped, or is too slow for the rest, is never given a post-copy', () => {
  const dropping = (atMs: number) => (atMs > 4000 && atMs < 8000 ? 0 : 125e6);
  const dropped = simulateCopy(guest(GUESTS.hotSet, { linkBps: dropping }));
  assert.equal(dropped.end, 'abort');
  assert.match(dropped.decisions.at(-1)?.reason ?? '', /the link dropped/);
  const slow = simulateCopy(guest(GUESTS.scanner, { linkBps: () => 1e6, facts: { budgetMs: 30_000 } }));
  assert.equal(slow.end, 'abort');
  assert.match(slow.decisions.at(-1)?.reason ?? '', /the rest .* takes \d+ ms, and post-copy has/);
});

test('a link that is dead ends the copy, in or over the budget', () => {
  for (const budgetMs of [5_000, 60_000]) {
    const facts = { budgetMs, stallMs: 2_000 };
    const { end, decisions } = simulateCopy(
      guest(GUESTS.hotSet, { linkBps: (at: number) => (at < 3000 ? 125e6 : 0), facts }),
    );
    assert.equal(end, 'abort');
    assert.match(decisions.at(-1)?.reason ?? '', /link to the destination is dead/);
  }
});

test('who only observes is told once what would be done, and nothing is done before the budget is over', () => {
  const { end, atMs, decisions } = simulateCopy(guest(GUESTS.hotSet, { options: { observeOnly: true } }));
  assert.equal(end, 'postcopy');
  assert.equal(atMs, 60_100);
  assert.deepEqual(
    decisions.map(({ action }) => action),
    ['observe', 'postcopy'],
  );
});

test('a round as small as the best is waited for, but not for ever', () => {
  // every third round is a third as large
  let calls = 0;
  const waves = () => (calls++ % 3 === 2 ? 50e6 : 150e6);
  const { end, decisions } = simulateCopy(guest(waves, { totalBytes: TOTAL }));
  assert.equal(end, 'postcopy');
  assert.ok(decisions.some(({ action }) => action === 'wait'));
  assert.match(decisions.at(-1)?.reason ?? '', /47\.7 MiB/);
});

test('every threshold says its default', () => {
  for (const [key, schema] of Object.entries(StrategyOptions.shape)) {
    const value: unknown = Reflect.get(DEFAULT_OPTIONS, key);
    assert.match(schema.description ?? '', new RegExp(` Default: ${String(value)}\\.$`), key);
  }
});

const Sample = fc.record({
  stepMs: fc.integer({ min: 0, max: 5000 }),
  sent: fc.integer({ min: 0, max: 1e9 }),
  remaining: fc.integer({ min: 0, max: 2e9 }),
  rounds: fc.integer({ min: 0, max: 3 }),
});

test('whatever QEMU says, a copy ends: within its budget by pre-copy, or within the time for the switch', () => {
  fc.assert(
    fc.property(
      fc.array(Sample, { minLength: 1, maxLength: 60 }),
      fc.record({
        budgetMs: fc.integer({ min: 1, max: 60_000 }),
        stallMs: fc.integer({ min: 1, max: 30_000 }),
        maxDowntimeMs: fc.integer({ min: 1, max: 2_000 }),
        postcopyAllowed: fc.boolean(),
        throttleOffered: fc.boolean(),
        changeBps: fc.option(fc.integer({ min: 0, max: 1e10 }), { nil: undefined }),
      }),
      fc.boolean(),
      fc.boolean(),
      (steps, facts: CopyFacts, observeOnly, throttle) => {
        const options = optionsOf({ observeOnly, throttle });
        let state = initialCopy({ release: 1, ...facts, switched: false }, options);
        let sample: CopySample = {
          ...{ atMs: 0, transferred: 0, remaining: 1e9, total: 1e9, round: 1 },
          ...{ dirtyPages: 0, pageSize: 4096, throttlePercent: 0 },
        };
        let over: string | undefined;
        let switchedAt: number | undefined;
        let downtime = state.downtimeMs;
        // what is given, and then the last of it over and over
        const last = { stepMs: 1000, sent: 1, remaining: 1e9, rounds: 1 };
        for (let n = 0; over === undefined; n += 1) {
          const { stepMs, sent, remaining, rounds } = steps[n] ?? last;
          const atMs = sample.atMs + stepMs;
          sample = {
            ...sample,
            ...{ atMs, transferred: sample.transferred + sent, remaining, round: sample.round + rounds },
          };
          const { state: next, decision } = supervise(state, sample, facts, options);
          state = next;
          const allowed = switchedAt === undefined ? facts.budgetMs : switchedAt + options.switchMs;
          if (decision.action === 'abort') over = decision.reason;
          else if (decision.action === 'postcopy') {
            assert.equal(switchedAt, undefined, 'post-copy is ordered once');
            assert.ok(facts.postcopyAllowed);
            switchedAt = atMs;
          } else assert.ok(atMs <= allowed, `still "${decision.action}" at ${atMs} of ${allowed} ms`);
          if (decision.action === 'raise-downtime') {
            assert.ok(decision.downtimeMs > downtime && decision.downtimeMs <= facts.maxDowntimeMs);
            downtime = decision.downtimeMs;
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});
