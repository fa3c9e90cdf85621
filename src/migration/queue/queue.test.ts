import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKOFF_MS, backoffMs, Clock, inOrder, type QueueView, survey, type WaitingJob } from './queue.ts';

const LIMITS = { outgoing: 2, link: 1 };

/** Jobs as they come: `principal vm destination`. */
function jobs(...texts: string[]): WaitingJob[] {
  const clock = new Clock();
  const made: WaitingJob[] = [];
  for (const [n, text] of texts.entries()) {
    const [principal = '', vm = '', destination = 'beta'] = text.split(' ');
    const turn = clock.next(made, { principal, vm });
    const about = { id: `m${n + 1}`, vm, principal, source: 'alpha', destination };
    made.push({ ...about, ...turn, seq: n + 1, notBeforeMs: 0 });
  }
  return made;
}

function look(waiting: WaitingJob[], more: Partial<QueueView> = {}) {
  const view = { nowMs: 1000, waiting, running: [], blocked: () => undefined, ...more };
  const { start, ...rest } = survey(view, LIMITS);
  return { start: start.map(({ id }) => id), ...rest };
}
const ids = (waiting: readonly WaitingJob[]) => inOrder(waiting).map(({ id }) => id);

test('principals take turns, however many jobs one of them has', () => {
  assert.deepEqual(ids(jobs('ann a', 'ann b', 'ann c', 'bob d', 'bob e')), ['m1', 'm4', 'm2', 'm5', 'm3']);
});

test('the VMs of a principal take turns', () => {
  assert.deepEqual(ids(jobs('ann a', 'ann a', 'ann a', 'ann b')), ['m1', 'm4', 'm2', 'm3']);
});

test('who comes when others have had many turns does not get all of those at once', () => {
  const waiting = jobs('ann a', 'ann b', 'ann c', 'ann d', 'ann e');
  const clock = new Clock(waiting);
  for (const job of waiting.splice(0, 3)) clock.began(job);
  for (const vm of ['x', 'y']) {
    const turn = clock.next(waiting, { principal: 'bob', vm });
    const about = { id: vm, vm, principal: 'bob', source: 'alpha', destination: 'beta', notBeforeMs: 0 };
    waiting.push({ ...about, ...turn, seq: waiting.length + 10 });
  }
  assert.deepEqual(ids(waiting), ['m4', 'x', 'm5', 'y']);
});

test('a link that is full keeps no other back, and the limit of the host does', () => {
  const { start, places } = look(jobs('ann a beta', 'ann b beta', 'ann c gamma', 'ann d delta'));
  assert.deepEqual(start, ['m1', 'm3']);
  assert.deepEqual(places, [
    { id: 'm2', position: 1, reason: '1 of 1 migrations go from alpha to beta' },
    { id: 'm4', position: 2, reason: '2 of 2 migrations leave alpha' },
  ]);
  const [a] = jobs('ann a beta');
  const full = look(jobs('ann x beta'), { running: a === undefined ? [] : [{ ...a, id: 'm0' }] });
  assert.deepEqual(full.places[0]?.reason, '1 of 1 migrations go from alpha to beta');
});

test('what stays on one host waits for no link and for no host', () => {
  const running = ['p', 'q'].map((vm) => ({ id: vm, vm, source: 'alpha', destination: 'beta' }));
  assert.deepEqual(look(jobs('ann a alpha'), { running }).start, ['m1']);
});

test('a VM has one at a time, and its own come in the order in which they were asked for', () => {
  const waiting = jobs('ann a beta', 'bob a gamma');
  const { start, places } = look(waiting);
  assert.deepEqual(start, ['m1']);
  assert.deepEqual(places, [{ id: 'm2', position: 1, reason: 'VM "a" has one under way (m1)' }]);
  const held = look(waiting, { blocked: () => 'VM "a" is being started' });
  assert.deepEqual(
    held.places.map(({ reason }) => reason),
    ['VM "a" is being started', 'm1 is about the same VM and came before it'],
  );
});

test('a job that was put back waits for its time, and its place is kept', () => {
  const waiting = jobs('ann a beta', 'ann b beta').map((job) =>
    job.id === 'm1' ? { ...job, notBeforeMs: 3500, putBack: 'beta is busy' } : job,
  );
  const early = look(waiting);
  assert.deepEqual(early.start, ['m2']);
  assert.deepEqual(early.places, [
    { id: 'm1', position: 1, reason: 'it is tried again in 3 s: beta is busy' },
  ]);
  assert.equal(early.wakeMs, 3500);
  const late = look(waiting, { nowMs: 3500 });
  assert.deepEqual([late.start, late.wakeMs], [['m1'], undefined]);
});

test('the pause before the next try grows, and differs between hosts', () => {
  assert.equal(backoffMs(0, 1), BACKOFF_MS.first);
  assert.equal(backoffMs(2, 1), 4 * BACKOFF_MS.first);
  assert.equal(backoffMs(1000, 1), BACKOFF_MS.most);
  assert.equal(backoffMs(1000, 0), BACKOFF_MS.most / 2);
});
