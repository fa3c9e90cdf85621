import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { ShadowferryError } from '../../errors.ts';
import { parseRequest } from '../../migration/request.ts';
import type { Work } from './job.ts';
import { JobStore } from './job-store.ts';
import { LateWrites } from './late-writes.ts';
import { type Attempt, Scheduler, type SchedulerOptions } from './scheduler.ts';
import { makeWorkMetrics } from './work-metrics.ts';

const LOG = pino({ level: 'silent' });
const LIMITS = { outgoing: 2, link: 2, waiting: 5, waitingPerPrincipal: 3 };

const work = (vm: string, destination = 'beta', hold = false): Work => ({
  kind: 'migration',
  request: parseRequest({ vm, destination }),
  ...{ hold, whenItComes: false },
});

interface Rig {
  scheduler: Scheduler;
  store: JobStore;
  /** Attempts that began and have not ended, by their id in the journal. */
  open: Map<string, Attempt & { end: () => void; fail: (error: unknown) => void }>;
  events: { type: string; data: Record<string, unknown> }[];
  /** Ids that stand in the journal, with why for those that never began. */
  journal: Map<string, string>;
  broken: string[];
  clock: { nowMs: number };
  ask: (id: string, what: Work, principal?: string, key?: string) => void;
}

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sf-queue-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'queue.db');
}

function rig(path: string, more: Partial<SchedulerOptions> = {}, journal = new Map<string, string>()): Rig {
  const store = new JobStore(path);
  const open: Rig['open'] = new Map();
  const events: Rig['events'] = [];
  const broken: string[] = [];
  const clock = { nowMs: 1000 };
  const scheduler = new Scheduler({
    ...{ host: 'alpha', store, limits: LIMITS, blocked: () => undefined },
    perform: (attempt) => {
      journal.set(attempt.id, 'began');
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      open.set(attempt.id, { ...attempt, end: resolve, fail: reject });
      return promise.finally(() => open.delete(attempt.id));
    },
    used: (id) => journal.has(id),
    neverBegan: (_, id, { code }) => void journal.set(id, code),
    broken: (_, id) => void broken.push(id),
    publish: (type, data) => void events.push({ type, data }),
    metrics: makeWorkMetrics(new Registry()),
    log: LOG,
    late: new LateWrites({ log: LOG, againMs: 1 }),
    nowMs: () => clock.nowMs,
    random: () => 1,
    ...more,
  });
  const ask: Rig['ask'] = (id, what, principal = 'ann', key = undefined) =>
    void scheduler.submit(what, { id, principal, key });
  return { scheduler, store, open, events, journal, broken, clock, ask };
}

const running = ({ open }: Rig) => [...open.keys()];

/** Ends an attempt with an outcome, and waits until the next one had its chance. */
async function end(rigged: Rig, id: string, outcome: Parameters<Attempt['outcome']>[0]): Promise<void> {
  const attempt = rigged.open.get(id);
  assert.ok(attempt, `${id} is under way`);
  attempt.outcome(outcome);
  attempt.end();
  await turn();
}

const DONE = { kind: 'ended', cancelled: false } as const;

test('as many are under way as the limits allow, and the next begins when one ends', async (t) => {
  const r = rig(scratch(t));
  for (const vm of ['a', 'b', 'c']) r.ask(`m${vm}`, work(vm));
  assert.deepEqual(running(r), [], 'nothing begins before the daemon has looked at what it left');
  r.scheduler.start();
  assert.deepEqual(running(r), ['ma', 'mb']);
  assert.deepEqual(r.scheduler.place('mc'), {
    ...{ id: 'mc', position: 1 },
    reason: '2 of 2 migrations leave alpha',
  });
  await end(r, 'ma', DONE);
  assert.deepEqual(running(r), ['mb', 'mc']);
  assert.equal(r.scheduler.place('mc'), undefined);
});

test('a full queue refuses, of one principal earlier than of all', (t) => {
  const r = rig(scratch(t));
  for (const n of [1, 2, 3]) r.ask(`m${n}`, work(`vm${n}`));
  assert.throws(() => r.ask('m4', work('vm4')), { code: 'QUEUE_SHARE', status: 429 });
  for (const n of [5, 6]) r.ask(`m${n}`, work(`vm${n}`), 'bob');
  assert.throws(() => r.ask('m7', work('vm7'), 'cyd'), { code: 'QUEUE_FULL', status: 503 });
  assert.equal(r.store.find('m7'), undefined, 'what was refused is not kept');
});

test('a destination that is busy puts the job back with a pause, and under a new id', async (t) => {
  const r = rig(scratch(t));
  r.scheduler.start();
  r.ask('m1', work('a'));
  await end(r, 'm1', { kind: 'again', why: 'beta is busy' });
  assert.deepEqual(running(r), []);
  assert.match(r.scheduler.place('m1')?.reason ?? '', /^it is tried again in 1 s: beta is busy$/);
  assert.deepEqual(r.events.map(({ type }) => type).slice(-2), ['migration.started', 'migration.requeued']);
  r.clock.nowMs += 500;
  r.scheduler.pump();
  assert.deepEqual(running(r), ['m1.2']);
  await end(r, 'm1.2', DONE);
  assert.equal(r.scheduler.find('m1')?.attempts, 2, 'the id that was given leads to the attempt that counts');
});

test('what waits is there after a restart, with its turn, and begins', async (t) => {
  const path = scratch(t);
  const before = rig(path);
  before.scheduler.start();
  for (const vm of ['a', 'b', 'c', 'd']) {
    before.ask(`m${vm}`, work(vm), vm === 'd' ? 'bob' : 'ann', `key-${vm}`);
  }
  before.store.dispose(); // as if it had been killed
  const after = rig(path, {}, before.journal);
  assert.deepEqual(
    after.scheduler.interrupted().map(({ id }) => id),
    ['ma', 'mb'],
  );
  assert.equal(after.store.byKey('bob', 'key-d')?.id, 'md');
  assert.equal(after.store.byKey('ann', 'key-d'), undefined);
  after.scheduler.start();
  assert.deepEqual(running(after), ['mc', 'md'], 'each with its principal');
});

test('one that was cut off before it came into the journal is done by the next process, under the same id', (t) => {
  const path = scratch(t);
  const before = rig(path);
  before.scheduler.start();
  before.ask('m1', work('a'));
  before.store.dispose();
  const after = rig(path); // the journal has nothing
  const [cut] = after.scheduler.interrupted();
  assert.ok(cut);
  after.scheduler.resume(cut, 'the daemon was killed');
  after.scheduler.start();
  assert.deepEqual(running(after), ['m1']);
});

test('one that waits is cancelled at once, and the journal has it', (t) => {
  const r = rig(scratch(t));
  r.ask('m1', work('a'));
  assert.equal(r.scheduler.cancel('m1'), true);
  assert.deepEqual([...r.journal], [['m1', 'CANCELLED']]);
  assert.equal(r.scheduler.place('m1'), undefined);
  assert.equal(r.scheduler.cancel('m1'), false);
  r.scheduler.start();
  assert.deepEqual(running(r), []);
});

test('one that is under way is asked to go back', async (t) => {
  const r = rig(scratch(t));
  r.scheduler.start();
  r.ask('m1', work('a'));
  r.scheduler.cancel('m1');
  assert.equal(r.open.get('m1')?.cancel.aborted, true);
  await end(r, 'm1', { kind: 'ended', cancelled: true });
  assert.equal(r.store.find('m1')?.state, 'ended');
});

test('one that is cancelled while its destination says that it is busy does not come again', async (t) => {
  const r = rig(scratch(t));
  r.scheduler.start();
  r.ask('m1', work('a'));
  r.scheduler.cancel('m1');
  await end(r, 'm1', { kind: 'again', why: 'busy' });
  assert.equal(r.scheduler.place('m1'), undefined);
  assert.equal(r.journal.get('m1.2'), 'CANCELLED');
});

test('one with a question waits for its answer, and cancel is one', async (t) => {
  const r = rig(scratch(t));
  r.scheduler.start();
  for (const vm of ['a', 'b']) r.ask(`m${vm}`, work(vm, 'beta', true));
  const [a, b] = [r.open.get('ma'), r.open.get('mb')];
  assert.ok(a?.confirm && b?.confirm);
  assert.throws(() => r.scheduler.confirm('ma'), { code: 'NOT_HELD' });
  const answers = [a.confirm(), b.confirm()];
  assert.deepEqual([r.scheduler.isHeld('ma'), r.scheduler.isHeld('mb')], [true, true]);
  assert.equal(r.events.filter(({ type }) => type === 'migration.held').length, 2);
  r.scheduler.confirm('ma');
  await answers[0];
  assert.equal(r.scheduler.isHeld('ma'), false);
  r.scheduler.cancel('mb');
  await assert.rejects(answers[1] ?? Promise.resolve(), { code: 'CANCELLED' });
  assert.throws(() => r.scheduler.confirm('mb'), { code: 'NOT_HELD' });
});

test('a daemon that stops takes back what is not handed over, and the next one takes it up', async (t) => {
  const path = scratch(t);
  const r = rig(path);
  r.scheduler.start();
  r.ask('ma', work('a'));
  r.ask('mb', work('b'));
  const stopped = r.scheduler.stop();
  const [a, b] = [r.open.get('ma'), r.open.get('mb')];
  assert.ok(a?.cancel.aborted && b?.cancel.aborted);
  a.outcome({ kind: 'ended', cancelled: true });
  a.end();
  b.outcome(DONE); // it was handed over already
  b.end();
  await stopped;
  r.store.dispose();
  const next = rig(path, {}, r.journal);
  next.scheduler.start();
  assert.deepEqual(running(next), ['ma.2']);
});

test('an attempt that breaks off goes to whoever recovers, and the queue goes on', async (t) => {
  const r = rig(scratch(t), { limits: { ...LIMITS, outgoing: 1 } });
  r.scheduler.start();
  r.ask('ma', work('a'));
  r.ask('mb', work('b'));
  r.open.get('ma')?.fail(new ShadowferryError('INTERNAL', { why: 'a defect' }));
  await turn();
  await turn();
  assert.deepEqual(r.broken, ['ma']);
  assert.deepEqual(running(r), ['mb']);
});

test('a queue that cannot be written keeps what waits, and goes on when it can', async (t) => {
  const r = rig(scratch(t));
  r.ask('m1', work('a'));
  const begin = t.mock.method(r.store, 'begin', () => {
    throw new Error('database or disk is full');
  });
  r.scheduler.start();
  assert.deepEqual(running(r), []);
  assert.match(r.scheduler.place('m1')?.reason ?? '', /looked at next|disk is full/);
  begin.mock.restore();
  r.clock.nowMs += 1000;
  r.scheduler.pump();
  assert.deepEqual(running(r), ['m1']);
});

test('an end that the disk does not take is written when it does', async (t) => {
  const late = new LateWrites({ log: LOG, againMs: 60_000 });
  const r = rig(scratch(t), { late });
  r.scheduler.start();
  r.ask('m1', work('a'));
  const write = t.mock.method(r.store, 'end', () => {
    throw new Error('database or disk is full');
  });
  await end(r, 'm1', DONE);
  assert.equal(r.store.find('m1')?.state, 'running');
  assert.equal(late.behind, true);
  write.mock.restore();
  late.stop();
  assert.equal(r.store.find('m1')?.state, 'ended');
});
