import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MIGRATION_STATUSES } from '../../hypervisor/qmp/migration-info.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import type { HandOverAttempt } from '../../ownership/store.ts';
import { INCOMING_STATES } from './facts.test-data.ts';
import { INCOMING_EVENTS, incomingEnded, incomingTransition } from './incoming.ts';
import { receive, ToDestination } from './messages.ts';
import { destinationView, memoryView, sourceView } from './qemu-view.ts';
import { commitAttempt, type HandOver, returnAttempt, standingOf } from './record.ts';

const handOver: HandOver = { id: 'm1', vm: 'web1', source: 'a', destination: 'b', epoch: 7 };

test('the record says how a hand-over stands', () => {
  const standing = (owner: string, epoch: number) => standingOf(handOver, { vm: 'web1', owner, epoch });
  assert.equal(standing('a', 7), 'undecided');
  assert.equal(standing('b', 8), 'committed');
  assert.equal(standing('a', 8), 'refused');
  assert.equal(standing('a', 9), 'returned');
  assert.equal(standing('b', 9), 'elsewhere');
  assert.equal(standing('c', 8), 'elsewhere');
  assert.equal(standing('a', 6), 'elsewhere');
  assert.equal(standingOf(handOver, undefined), 'elsewhere');
});

test('of commit and refusal one succeeds, and only a commit can be given back', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-protocol-'));
  const store = new SqliteOwnership(join(directory, 'db'));
  t.after(() => {
    store.close();
    rmSync(directory, { recursive: true });
  });
  const make = ({ attempt, expected, to }: HandOverAttempt) => store.handOver(expected, to, { attempt });
  const begun = async (id: string): Promise<HandOver> => {
    const { epoch } = await store.register(id, 'a');
    return { ...handOver, id: `of-${id}`, vm: id, epoch };
  };
  const standing = async (of: HandOver) => standingOf(of, await store.read(of.vm));

  const refused = await begun('refused');
  assert.equal(await standing(refused), 'undecided');
  await store.resolveHandOver(commitAttempt(refused));
  assert.equal(await standing(refused), 'refused');
  await assert.rejects(make(commitAttempt(refused)));
  await assert.rejects(make(returnAttempt(refused)));
  assert.equal(await standing(refused), 'refused');

  const committed = await begun('committed');
  await make(commitAttempt(committed));
  assert.equal((await store.resolveHandOver(commitAttempt(committed))).action, 'committed');
  assert.equal(await standing(committed), 'committed');
  await make(returnAttempt(committed));
  await make(returnAttempt(committed)); // its first answer may have been lost
  assert.equal(await standing(committed), 'returned');
  assert.equal((await store.read('committed'))?.owner, 'a');
});

test('the incoming migration goes its way to settled', () => {
  const way = ['reserved', 'copy-begun', 'loaded', 'owned', 'runs', 'attach-failed', 'whole'] as const;
  let state = receive(undefined, { kind: 'reserve' });
  const kinds: (string | undefined)[] = [state?.kind];
  for (const event of way) {
    assert.ok(state);
    state = incomingTransition(state, event);
    kinds.push(state.kind);
  }
  const expected = 'reserving reserved receiving ready starting active attached settled'.split(' ');
  assert.deepEqual(kinds, expected);
  assert.deepEqual(state, { kind: 'settled', degraded: true });
});

test('what has ended stays, whatever comes; what voted does not leave on its own account', () => {
  for (const state of INCOMING_STATES) {
    if (incomingEnded(state))
      for (const event of INCOMING_EVENTS) assert.equal(incomingTransition(state, event), state);
  }
  assert.deepEqual(incomingTransition({ kind: 'ready' }, 'failed'), { kind: 'ready' });
  for (const kind of ['starting', 'active'] as const)
    for (const event of ['cancelled', 'disowned', 'failed'] as const)
      assert.deepEqual(incomingTransition({ kind }, event), { kind });
});

test('messages may come twice, late and in the wrong order', () => {
  const reserved = receive(undefined, { kind: 'reserve' });
  assert.equal(receive(reserved, { kind: 'reserve' }), reserved);
  const cancelledFirst = receive(undefined, { kind: 'cancel' });
  assert.deepEqual(cancelledFirst, { kind: 'discarded' });
  assert.deepEqual(receive(cancelledFirst, { kind: 'reserve' }), { kind: 'discarded' });
  assert.deepEqual(receive({ kind: 'active' }, { kind: 'cancel' }), { kind: 'active' });
  assert.equal(receive(undefined, { kind: 'ask' }), undefined);
});

test('a message names its hand-over, and nothing else is taken', () => {
  assert.ok(ToDestination.safeParse({ kind: 'cancel', handOver }).success);
  assert.ok(!ToDestination.safeParse({ kind: 'cancel' }).success);
  assert.ok(!ToDestination.safeParse({ kind: 'commit', handOver }).success);
  assert.ok(!ToDestination.safeParse({ kind: 'ask', handOver: { ...handOver, epoch: 0 } }).success);
});

test('what QEMU says is put into the words of the protocol', () => {
  const source = (status: string, running: boolean, migration: (typeof MIGRATION_STATUSES)[number]) =>
    sourceView({ status, running, migration });
  assert.equal(sourceView(undefined), 'none');
  assert.equal(source('running', true, 'none'), 'running');
  assert.equal(source('running', true, 'cancelled'), 'running');
  assert.equal(source('running', true, 'active'), 'copying');
  assert.equal(source('finish-migrate', false, 'pre-switchover'), 'pre-switchover');
  assert.equal(source('finish-migrate', false, 'device'), 'sending');
  assert.equal(source('finish-migrate', false, 'postcopy-device'), 'sending');
  assert.equal(source('postmigrate', false, 'completed'), 'sent');
  assert.equal(source('finish-migrate', false, 'postcopy-active'), 'serving');
  assert.equal(source('finish-migrate', false, 'postcopy-paused'), 'severed');
  assert.equal(source('postmigrate', false, 'failed'), 'stopped');
  const destination = (status: string, running: boolean, migration: (typeof MIGRATION_STATUSES)[number]) =>
    destinationView({ status, running, migration });
  assert.equal(destinationView(undefined), 'none');
  assert.equal(destination('inmigrate', false, 'none'), 'waiting');
  assert.equal(destination('inmigrate', false, 'active'), 'receiving');
  assert.equal(destination('paused', false, 'completed'), 'loaded');
  assert.equal(destination('paused', false, 'postcopy-active'), 'loaded');
  assert.equal(destination('running', true, 'postcopy-active'), 'running');
  assert.equal(destination('io-error', false, 'completed'), 'stopped');
});

test('a status that may still start the VM by itself is never taken for a safe one', () => {
  for (const migration of MIGRATION_STATUSES) {
    const view = sourceView({ status: 'finish-migrate', running: false, migration });
    const safe = [
      'completed',
      'postcopy-active',
      'postcopy-paused',
      'postcopy-recover',
      'postcopy-recover-setup',
    ];
    assert.equal(
      view === 'sent' || view === 'serving' || view === 'severed',
      safe.includes(migration),
      migration,
    );
    assert.equal(
      memoryView(migration) === 'whole',
      migration === 'completed' || migration === 'none',
      migration,
    );
  }
});
