import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { refusedWith } from './contract.test-data.ts';
import { mayRun, type OverrideNote, requireMayRun, takeOver } from './guard.ts';
import { SqliteOwnership } from './sqlite.ts';

function open(t: TestContext): SqliteOwnership {
  const store = new SqliteOwnership(':memory:');
  t.after(() => store.close());
  return store;
}

const silent = {
  read: async () => {
    throw new ShadowferryError('STORE_UNREACHABLE', { why: 'no answer' });
  },
};

function operator(audit: (note: OverrideNote) => Promise<void> = async () => {}) {
  return { by: 'ann', why: 'host b burnt down', audit };
}

test('only the host of the record may run a VM', async (t) => {
  const store = open(t);
  const first = await store.register('web1', 'a');
  assert.deepEqual(await mayRun(store, 'web1', 'a'), {
    allowed: true,
    reason: 'host "a" owns the VM (epoch 1)',
    record: first,
  });
  await store.handOver(first, 'b');
  const refusal = await mayRun(store, 'web1', 'a');
  assert.deepEqual([refusal.allowed, refusal.reason], [false, 'host "b" owns the VM (epoch 2)']);
  assert.equal((await mayRun(store, 'web2', 'a')).allowed, false);
  await assert.rejects(requireMayRun(store, 'web1', 'a'), refusedWith('START_REFUSED', /host "b" owns/));
  assert.equal((await requireMayRun(store, 'web1', 'b')).allowed, true);
});

test('a store that cannot be asked is a no, also when it fails in an unforeseen way', async () => {
  const refusal = await mayRun(silent, 'web1', 'a');
  assert.equal(refusal.allowed, false);
  assert.match(refusal.reason, /cannot be reached: no answer/);
  const broken = { read: () => Promise.reject(new TypeError('broken')) };
  assert.equal((await mayRun(broken, 'web1', 'a')).allowed, false);
});

test('an operator may override a silent store, when it is written down first', async () => {
  const notes: OverrideNote[] = [];
  const override = operator(async (note) => void notes.push(note));
  const permission = await mayRun(silent, 'web1', 'a', { override });
  assert.equal(permission.allowed, true);
  assert.match(permission.reason, /ann overrides \(host b burnt down\)/);
  assert.equal(notes.length, 1);
  assert.match(notes[0]?.against ?? '', /no answer/);
  const full = operator(() => Promise.reject(new Error('disk full')));
  const refusal = await mayRun(silent, 'web1', 'a', { override: full });
  assert.equal(refusal.allowed, false);
  assert.match(refusal.reason, /disk full/);
});

test('an override does not hold against a record; taking the VM over does, in one step', async (t) => {
  const store = open(t);
  await store.handOver(await store.register('web1', 'a'), 'b');
  const notes: OverrideNote[] = [];
  const override = operator(async (note) => void notes.push(note));
  assert.equal((await mayRun(store, 'web1', 'a', { override })).allowed, false);
  assert.equal(notes.length, 0);
  const failing = operator(() => Promise.reject(new Error('disk full')));
  await assert.rejects(takeOver(store, 'web1', 'a', failing), /disk full/);
  assert.equal((await store.read('web1'))?.owner, 'b');
  const after = await takeOver(store, 'web1', 'a', override);
  assert.deepEqual(after, { vm: 'web1', owner: 'a', epoch: 3 });
  assert.match(notes[0]?.against ?? '', /host "b" owns the VM \(epoch 2\)/);
  assert.deepEqual(await takeOver(store, 'web1', 'a', override), after);
  assert.equal(notes.length, 1, 'what is ours already is not taken over');
  assert.equal((await mayRun(store, 'web1', 'a')).allowed, true);
  await assert.rejects(takeOver(store, 'web2', 'a', override), refusedWith('INPUT_FIELD', /no host owns/));
});
