import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BURST, CaptureBudget } from './budget.ts';

test('a few captures may come at once, and then one each fifty times what it takes', () => {
  const budget = new CaptureBudget(0);
  for (let n = 0; n < BURST - 1; n += 1) {
    assert.equal(budget.waitMs(0), 0, `capture ${n + 1}`);
    budget.spent(50, 0);
  }
  assert.equal(budget.waitMs(0), 0);
  budget.spent(50, 0);
  assert.equal(budget.waitMs(0), 2500);
  assert.equal(budget.waitMs(2000), 500);
  assert.equal(budget.waitMs(2500), 0);
});

test('in the long run changes without end cost a fiftieth of the time', () => {
  const budget = new CaptureBudget(0);
  let now = 0;
  let spent = 0;
  while (now < 1_000_000) {
    now += budget.waitMs(now) + 40;
    spent += 40;
    budget.spent(40, now);
  }
  assert.ok(spent / now < 0.021, `${spent / now}`);
  assert.ok(spent / now > 0.018, `${spent / now}`);
});

test('a calm time gives the burst back, and no more', () => {
  const budget = new CaptureBudget(0);
  for (let n = 0; n < 2 * BURST; n += 1) budget.spent(50, 0);
  assert.ok(budget.waitMs(0) > 0);
  for (let n = 0; n < BURST - 1; n += 1) {
    assert.equal(budget.waitMs(1_000_000), 0);
    budget.spent(50, 1_000_000);
  }
  budget.spent(50, 1_000_000);
  assert.ok(budget.waitMs(1_000_000) > 0);
});

test('looks without an event cost a thousandth of the time, and come once a minute at most', () => {
  const fast = new CaptureBudget(0);
  fast.spent(20, 0);
  assert.equal(fast.idleMs(), 60_000);
  const slow = new CaptureBudget(0);
  slow.spent(800, 0);
  assert.equal(slow.idleMs(), 800_000);
});
