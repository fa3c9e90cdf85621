import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { vmPaths } from '../../hypervisor/qemu/spec.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import { NOTE } from '../history.ts';
import { Journal, type JournalMigration } from '../journal.ts';
import type { State } from '../machine.ts';
import type { IncomingState } from '../protocol/incoming.ts';
import type { ToDestination } from '../protocol/messages.ts';
import type { HandOver } from '../protocol/record.ts';
import type { Undo } from '../undo.ts';
import { act } from './act.ts';
import { Looker } from './look.ts';
import type { RecoveryDependencies } from './model.ts';
import { recoverMigration, recoverWith } from './recover.ts';

const handOver: HandOver = { id: 'm1', vm: 'web1', source: 'a', destination: 'b', epoch: 1 };
const running = (
  phase: 'reserve' | 'copy' | 'switchover' | 'attach' | 'settle',
  committed = false,
): State => ({
  ...{ kind: 'running', phase, committed, degraded: false, dryRun: false },
});

interface Bench {
  journal: Journal;
  ownership: SqliteOwnership;
  deps: RecoveryDependencies;
  said: ToDestination['kind'][];
  undone: Undo['kind'][];
  told: string[];
  stop: AbortController;
  entry: () => JournalMigration;
  /** What the destination's daemon answers; an error: it does not. */
  peer: { state: IncomingState | undefined | Error; hear?: (kind: ToDestination['kind']) => void };
}

async function bench(t: TestContext, state: State, options: { untouched?: boolean } = {}): Promise<Bench> {
  const directory = mkdtempSync(join(tmpdir(), 'sf-recovery-'));
  const journal = new Journal(join(directory, 'journal.db'));
  const ownership = new SqliteOwnership(join(directory, 'ownership.db'));
  t.after(() => {
    journal.dispose();
    ownership.close();
    rmSync(directory, { recursive: true });
  });
  await ownership.register('web1', 'a');
  const request = { vm: 'web1', destination: 'b' };
  journal.open({ id: 'm1', vm: 'web1', source: 'a', destination: 'b', request, state });
  if (!options.untouched) journal.note('m1', NOTE.handOver, JSON.stringify(handOver));
  const host: Host = {
    ...{ name: 'a', migrationAddress: '127.0.0.1', prefix: [], qemu: { binary: 'qemu', accelerator: 'tcg' } },
    vmDirectory: (vm) => join(directory, vm),
    devices: () => [],
    createTap: async () => {},
    removeTap: async () => {},
  };
  const said: Bench['said'] = [];
  const undone: Bench['undone'] = [];
  const told: string[] = [];
  const peer: Bench['peer'] = { state: undefined };
  const stop = new AbortController();
  const deps: RecoveryDependencies = {
    ...{ journal, ownership, host, signal: stop.signal },
    abilities: { all: async () => [], record: async () => {} } as never,
    destination: {
      name: 'b',
      answerUnreachable: async () => {},
      undo: async (_, undo) => void undone.push(undo.kind),
    },
    peer: {
      tell: async ({ kind }) => {
        if (kind !== 'ask') said.push(kind);
        peer.hear?.(kind);
        if (peer.state instanceof Error) throw peer.state;
        return peer.state;
      },
    },
    emit: (event) => {
      if (event.type === 'decision') told.push(event.action);
      if (event.type === 'warning') told.push(`! ${event.text}`);
    },
  };
  const entry = () => {
    const found = journal.find('m1');
    assert.ok(found);
    return found;
  };
  return { journal, ownership, deps, said, undone, told, stop, entry, peer };
}

const unreachable = new ShadowferryError('PEER_UNREACHABLE', {
  host: 'b',
  address: '192.0.2.2',
  why: 'silence',
});

test('before anything was touched it just ends, and nobody is asked', async (t) => {
  for (const state of [running('reserve'), { ...running('copy'), phase: 'preflight' } as State]) {
    const b = await bench(t, state, { untouched: true });
    const { result } = await recoverMigration(b.entry(), b.deps);
    assert.equal(result.ending, 'rolled-back');
    assert.equal(result.kind, 'recovered');
    assert.equal(result.error?.code, 'INTERRUPTED');
    assert.equal(b.entry().ending, 'rolled-back');
    assert.deepEqual(b.said, []);
  }
});

test('after the commit, when all is there: the claims here are released, and it is complete', async (t) => {
  const b = await bench(t, running('settle', true));
  await b.ownership.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b', { attempt: 'm1' });
  await b.ownership.claimDevice({ host: 'a', device: 'nic0', vm: 'web1' });
  await b.ownership.claimDevice({ host: 'b', device: 'nic0', vm: 'web1' });
  b.peer.state = { kind: 'settled', degraded: false };
  const { result, vm } = await recoverMigration(b.entry(), b.deps);
  assert.equal(result.ending, 'completed');
  assert.equal(vm, undefined);
  assert.deepEqual(
    (await b.ownership.claims()).map(({ host }) => host),
    ['b'],
  );
  assert.deepEqual(b.said, []);
});

test('what a QEMU that was killed left here is removed when its devices are released', async (t) => {
  const b = await bench(t, running('settle', true));
  await b.ownership.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b', { attempt: 'm1' });
  await b.ownership.claimDevice({ host: 'a', device: 'nic0', vm: 'web1' });
  b.peer.state = { kind: 'settled', degraded: false };
  const directory = b.deps.host.vmDirectory('web1');
  const direct = { device: 'nic0', model: 'e1000e' };
  const nic = { id: 'net0', mac: '52:54:00:00:00:01', network: 'lan', direct, standby: 'virtio' };
  const spec = { name: 'web1', memoryMiB: 64, boot: { kernel: '/k' }, nics: [nic] };
  mkdirSync(directory);
  const gone = { host: 'a', pid: 4_194_303, startTicks: '1' };
  writeFileSync(vmPaths(directory).record, JSON.stringify({ spec, ...gone }));
  const removed: string[] = [];
  b.deps.host.removeTap = async (tap) => void removed.push(tap);
  await recoverMigration(b.entry(), b.deps);
  assert.equal(existsSync(directory), false);
  assert.equal(removed.length, 2, removed.join());
});

test('a commit that only the record knows of is learned, and the destination is told to look', async (t) => {
  const b = await bench(t, running('switchover'));
  b.journal.note('m1', NOTE.asked, 'epoch 1');
  await b.ownership.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b', { attempt: 'm1' });
  b.peer.state = { kind: 'ready' };
  b.peer.hear = (kind) => {
    if (kind === 'look') b.peer.state = { kind: 'settled', degraded: true };
  };
  const { result } = await recoverMigration(b.entry(), b.deps);
  assert.equal(result.ending, 'degraded');
  assert.deepEqual(b.said, ['look']);
  assert.match(b.told.join(), /^note committed,tell-look,note ok/);
});

test('a commit that was asked for and did not happen is made impossible before anything goes back', async (t) => {
  const b = await bench(t, running('switchover'));
  b.journal.note('m1', NOTE.asked, 'epoch 1');
  b.peer.state = { kind: 'receiving' };
  b.peer.hear = (kind) => {
    if (kind === 'cancel') b.peer.state = { kind: 'discarded' };
  };
  await recoverMigration(b.entry(), b.deps);
  assert.deepEqual(await b.ownership.read('web1'), { vm: 'web1', owner: 'a', epoch: 2 });
  assert.equal(b.told.indexOf('refuse-hand-over') < b.told.indexOf('note failed'), true, b.told.join());
  assert.deepEqual(b.said, ['cancel']);
});

test('while the store is silent after the question, nothing is decided', async (t) => {
  const b = await bench(t, running('switchover'));
  b.journal.note('m1', NOTE.asked, 'epoch 1');
  b.peer.state = { kind: 'ready' };
  let silent = true;
  const store = new Proxy(b.ownership, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        if (silent) throw new ShadowferryError('STORE_UNREACHABLE', { why: 'cut off' });
        return Reflect.apply(value, target, args);
      };
    },
  });
  const done = recoverMigration(b.entry(), {
    ...b.deps,
    ownership: store,
    emit: (event) => {
      b.deps.emit(event);
      if (event.type !== 'decision' || event.action !== 'wait' || !silent) return;
      assert.equal(b.entry().ending, null);
      assert.deepEqual(b.said, []);
      silent = false;
    },
  });
  b.peer.hear = (kind) => {
    if (kind === 'look') b.peer.state = { kind: 'settled', degraded: false };
  };
  await done;
  assert.equal(b.told[0], 'wait');
  // pre-copy, our QEMU gone, the destination whole: it is handed over after all
  assert.equal((await b.ownership.read('web1'))?.owner, 'b');
});

test('a VM whose QEMU ended with its process is told to be lost, and the destination is cleaned', async (t) => {
  const b = await bench(t, running('copy'));
  const undo: Undo[] = [
    { kind: 'remove-tap', host: 'b', tap: 'sfd0' },
    { kind: 'release-device', host: 'b', device: 'nic0' },
  ];
  for (const each of undo) b.journal.begin('m1', 'reserve', each.kind, [each]);
  b.journal.begin('m1', 'detach', 'release and unplug the device', [{ kind: 'reattach', nic: 'net0' }]);
  const { result } = await recoverMigration(b.entry(), b.deps);
  assert.equal(result.ending, 'stuck');
  assert.deepEqual(b.undone, ['release-device', 'remove-tap']);
});

test('a destination that does not answer is waited for, and it is told why', async (t) => {
  const b = await bench(t, running('attach', true));
  await b.ownership.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b', { attempt: 'm1' });
  b.peer.state = unreachable;
  let asked = 0;
  b.peer.hear = () => {
    asked += 1;
    if (asked === 2) b.peer.state = { kind: 'settled', degraded: false };
  };
  const { result } = await recoverMigration(b.entry(), b.deps);
  assert.equal(result.ending, 'completed');
  assert.match(
    b.journal
      .notes('m1')
      .map(({ text }) => text)
      .join('\n'),
    /wait: .*192\.0\.2\.2/,
  );
});

test('who ends a recovery leaves it open, and it may be begun again', async (t) => {
  const b = await bench(t, running('attach', true));
  await b.ownership.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b', { attempt: 'm1' });
  b.peer.state = unreachable;
  b.peer.hear = () => b.stop.abort(new Error('the daemon stops'));
  await assert.rejects(recoverMigration(b.entry(), b.deps), /the daemon stops/);
  assert.equal(b.entry().ending, null);
  b.peer.state = { kind: 'settled', degraded: false };
  delete b.peer.hear;
  const again = { ...b.deps, signal: new AbortController().signal };
  assert.equal((await recoverMigration(b.entry(), again)).result.ending, 'completed');
});

test('an act that fails is told and tried again; a failed look too', async (t) => {
  const b = await bench(t, running('settle', true));
  await b.ownership.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b', { attempt: 'm1' });
  await b.ownership.claimDevice({ host: 'a', device: 'nic0', vm: 'web1' });
  b.peer.state = { kind: 'settled', degraded: false };
  let failures = 1;
  const { result } = await recoverWith(b.entry(), b.deps, {
    eyes: new Looker(b.entry(), b.deps),
    act: async (action, acting) => {
      if (action === 'release' && failures-- > 0) throw new Error('not now');
      return act(action, acting);
    },
  });
  assert.equal(result.ending, 'completed');
  assert.deepEqual(result.warnings, ['it is tried again: not now']);
});
