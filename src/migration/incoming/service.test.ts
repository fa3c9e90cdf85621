import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ShadowferryError } from '../../errors.ts';
import type { IncomingHands } from './hands.ts';
import { FakeHands, HAND_OVER, orderOf, World } from './world.test-data.ts';

const refusedAs = (code: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === code;

test('a VM comes: each state is in the journal, and what happened is told in its order', async (t) => {
  const world = new World(t);
  await world.migrate();
  const told = world.journal.told(HAND_OVER.id);
  assert.deepEqual(
    told.map(({ rev }) => rev),
    told.map((_, n) => n + 1),
  );
  const states = told.flatMap(({ what }) => (what.kind === 'state' ? [what.state.kind] : []));
  assert.deepEqual(
    states.filter((kind) => kind !== 'receiving'),
    ['reserving', 'reserved', 'ready', 'starting', 'active', 'attached', 'settled'],
  );
  for (const kind of ['listening', 'running', 'carrier', 'attached', 'settled'])
    assert.ok(
      told.some(({ what }) => what.kind === kind),
      kind,
    );
  const { machine } = world;
  assert.deepEqual([machine.ran, machine.plugged, machine.settled], [1, 1, 1]);
  const [claim] = await world.ownership.claims('beta');
  assert.deepEqual([claim?.vm, claim?.migration], ['web', undefined]);
});

const ACTS = ['reserve', 'look', 'continueVm', 'attach', 'settle', 'keepClaims'] as const;

test('a daemon that is killed at any act goes on, and the VM runs once', async (t) => {
  for (const call of ACTS)
    for (const when of ['before', 'after'] as const)
      await t.test(`${when} ${call}`, async (t) => {
        const world = new World(t, { call, when });
        world.source = 'before';
        await world.migrate();
        assert.equal(world.machine.ran, 1);
        const [claim] = await world.ownership.claims('beta');
        assert.deepEqual([claim?.vm, claim?.migration], ['web', undefined]);
      });
});

/** Brings an incoming migration to a state. */
async function bring(world: World, state: string): Promise<void> {
  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  await world.service.reserve(orderOf(HAND_OVER));
  await world.until('reserved');
  if (state === 'reserved') return;
  world.machine.qemu = { status: 'inmigrate', running: false, migration: 'active' };
  world.machine.tell();
  await world.until('receiving');
  if (state === 'receiving') return;
  world.machine.load();
  await world.until('ready');
}

const nothingLeft = async (world: World) => {
  assert.deepEqual([world.machine.qemu, world.machine.taps, world.machine.ran], [undefined, false, 0]);
  assert.deepEqual(await world.ownership.claims('beta'), []);
};

for (const state of ['reserved', 'receiving', 'ready']) {
  test(`in "${state}" a silent coordinator is not waited for for ever, and nothing is left`, async (t) => {
    const world = new World(t);
    await bring(world, state);
    world.source = undefined;
    await world.until('discarded');
    await nothingLeft(world);
    // the vote was taken back in the store first: a commit that is still on its way must fail
    const record = await world.ownership.read('web');
    assert.deepEqual([record?.owner, record?.epoch], ['alpha', state === 'ready' ? 2 : 1]);
    if (state === 'ready') await assert.rejects(world.commit(), refusedAs('HANDOVER_WITHDRAWN'));
  });

  test(`in "${state}" a cancel takes all back, also when the daemon is killed while it does`, async (t) => {
    for (const call of ['discard', 'release'] as const)
      for (const when of ['before', 'after'] as const) {
        const world = new World(t, { call, when });
        await bring(world, state);
        world.source = 'over';
        world.service.tell({ kind: 'cancel', handOver: HAND_OVER });
        await world.until('discarded');
        await nothingLeft(world);
      }
  });

  test(`in "${state}" a daemon that is killed finds out by itself that the coordinator went back`, async (t) => {
    const world = new World(t);
    await bring(world, state);
    world.source = 'over';
    world.kill();
    await world.until('discarded');
    await nothingLeft(world);
  });
}

test('the record decides: a VM that was committed runs although the coordinator never said so', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.source = undefined;
  await world.commit();
  await world.until('settled');
  assert.equal(world.machine.ran, 1);
});

test('QEMU that dies after the vote: a VM that is ours and never ran is given back', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.machine.qemu = undefined;
  await world.commit();
  await world.until('discarded');
  const record = await world.ownership.read('web');
  assert.deepEqual([record?.owner, record?.epoch], ['alpha', 3]);
  await nothingLeft(world);
});

test('QEMU that dies before it is told to run, though the journal says that it may be: it is given back', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  const { journal, machine } = world;
  const write = journal.setState.bind(journal);
  journal.setState = (id, state, told) => {
    write(id, state, told);
    if (state.kind === 'starting') machine.qemu = undefined;
  };
  await world.commit();
  await world.until('discarded');
  assert.equal((await world.ownership.read('web'))?.owner, 'alpha');
  await nothingLeft(world);
});

test('a daemon that finds "starting" and no QEMU does not know whether the VM ran', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  const { journal, machine } = world;
  const write = journal.setState.bind(journal);
  journal.setState = (id, state, told) => {
    write(id, state, told);
    if (state.kind !== 'starting') return;
    machine.qemu = undefined;
    world.kill();
  };
  await world.commit();
  await world.until('lost');
  assert.equal((await world.ownership.read('web'))?.owner, 'beta');
});

test('QEMU that does not let the VM run: it is given back', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.machine.failing.set('continueVm', () => new Error('Failed to get "write" lock'));
  await world.commit();
  await world.until('discarded');
  assert.equal((await world.ownership.read('web'))?.owner, 'alpha');
  await nothingLeft(world);
});

test('QEMU that dies when the VM ran: it is lost here, and not given back', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.machine.failing.set('attach', () => {
    world.machine.qemu = undefined;
    return new Error('QEMU is gone');
  });
  await world.commit();
  await world.until('lost');
  assert.equal((await world.ownership.read('web'))?.owner, 'beta');
  // a migration that is over holds no claim: it is the VM's own, and can be released by its name
  const claims = await world.ownership.claims('beta');
  assert.deepEqual(
    claims.map(({ vm, migration }) => [vm, migration]),
    [['web', undefined]],
  );
});

test('a device that does not come leaves the VM running without it', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.machine.failing.set('attach', () => new Error('no such slot'));
  await world.commit();
  await world.until('settled');
  const { state } = await world.service.report(HAND_OVER.id, 0, 0);
  assert.deepEqual(state, { kind: 'settled', degraded: true });
  assert.equal(world.machine.ran, 1);
});

test('what cannot be reserved is told with its reason, and taken back', async (t) => {
  const world = new World(t);
  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  world.machine.failing.set(
    'reserve',
    () => new ShadowferryError('QEMU_START_FAILED', { host: 'beta', why: 'no memory' }),
  );
  await world.service.reserve(orderOf(HAND_OVER));
  await world.until('discarded');
  const { told } = await world.service.report(HAND_OVER.id, 0, 0);
  const error = told.flatMap(({ what }) => (what.kind === 'error' ? [what.error.code] : []));
  assert.deepEqual(error, ['QEMU_START_FAILED']);
});

test('messages may be repeated, late, and overtaken', async (t) => {
  const world = new World(t);
  const { service } = world;
  assert.equal(service.tell({ kind: 'ask', handOver: HAND_OVER }), undefined);
  assert.equal(service.tell({ kind: 'look', handOver: HAND_OVER }), undefined);
  assert.deepEqual(service.tell({ kind: 'cancel', handOver: HAND_OVER }), { kind: 'discarded' });
  assert.deepEqual(service.tell({ kind: 'cancel', handOver: HAND_OVER }), { kind: 'discarded' });
  assert.deepEqual(await service.reserve(orderOf(HAND_OVER)), { kind: 'discarded' });
  assert.deepEqual(world.machine.calls, []);
  await assert.rejects(service.report('m2', 0, 0), refusedAs('UNKNOWN_MIGRATION'));

  await world.ownership.register('web', 'alpha');
  world.source = 'before';
  const other = { ...HAND_OVER, id: 'm3' };
  const both = await Promise.allSettled([service.reserve(orderOf(other)), service.reserve(orderOf(other))]);
  assert.ok(both.every(({ status }) => status === 'fulfilled'));
  const again = { ...HAND_OVER, id: 'm4' };
  await assert.rejects(service.reserve(orderOf(again)), refusedAs('DESTINATION_BUSY'));
  const stranger = { ...other, source: 'gamma' };
  assert.throws(() => service.tell({ kind: 'cancel', handOver: stranger }), refusedAs('INPUT_FIELD'));
  service.tell({ kind: 'cancel', handOver: other });
  await service.ended('m3');
  assert.equal(world.machine.calls.filter((call) => call === 'reserve').length <= 1, true);
  assert.deepEqual(service.tell({ kind: 'cancel', handOver: other }), { kind: 'discarded' });
});

test('orders that do not fit this host are refused before anything is made', async (t) => {
  const world = new World(t);
  const wrong = [
    [orderOf({ ...HAND_OVER, destination: 'gamma' }), 'INPUT_FIELD'],
    [orderOf({ ...HAND_OVER, source: 'beta' }), 'INPUT_FIELD'],
    [{ ...orderOf(HAND_OVER), spec: { ...orderOf(HAND_OVER).spec, name: 'db' } }, 'INPUT_FIELD'],
    [orderOf(HAND_OVER, 'nic9'), 'UNKNOWN_DEVICE'],
  ] as const;
  for (const [order, code] of wrong) await assert.rejects(world.service.reserve(order), refusedAs(code));
  assert.deepEqual(world.journal.openEntries(), []);
});

test('a VM that another host owns is not taken in', async (t) => {
  const world = new World(t);
  await world.ownership.register('web', 'gamma');
  world.source = 'before';
  await world.service.reserve(orderOf(HAND_OVER));
  await world.until('discarded');
  assert.equal(world.machine.ran, 0);
});

/** A journal that cannot be written where a state is `kind`. */
function full(world: World, kind: string): void {
  const { journal } = world;
  const write = journal.setState.bind(journal);
  journal.setState = (id, state, told) => {
    if (state.kind === kind) throw new Error('database or disk is full');
    write(id, state, told);
  };
}

test('a vote that cannot be written is not given: the migration goes back, and says why', async (t) => {
  const world = new World(t);
  await bring(world, 'receiving');
  full(world, 'ready');
  world.machine.load();
  await world.until('discarded');
  await nothingLeft(world);
  const { told } = await world.service.report(HAND_OVER.id, 0, 0);
  assert.ok(told.some(({ what }) => what.kind === 'error' && what.error.code === 'JOURNAL_UNWRITABLE'));
});

test('a leave to run that cannot be written is none: the VM is given back', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  full(world, 'starting');
  await world.commit();
  await world.until('discarded');
  assert.equal((await world.ownership.read('web'))?.owner, 'alpha');
  await nothingLeft(world);
});

test('what else cannot be written does not stop a VM that runs', async (t) => {
  for (const kind of ['active', 'attached']) {
    const world = new World(t);
    await bring(world, 'ready');
    full(world, kind);
    await world.commit();
    await world.until('settled');
    assert.equal(world.machine.ran, 1);
    assert.ok(world.published.some(({ type }) => type === 'journal.unwritable'));
  }
});

test('an end that could not be written is written when there is room', async (t) => {
  const world = new World(t);
  await bring(world, 'reserved');
  const { journal } = world;
  const write = journal.setState;
  full(world, 'discarded');
  world.service.tell({ kind: 'cancel', handOver: HAND_OVER });
  await world.service.ended('m1');
  assert.deepEqual(world.service.tell({ kind: 'ask', handOver: HAND_OVER }), { kind: 'discarded' });
  assert.equal(world.state(), 'discarding');
  journal.setState = write;
  for (const late of world.late) late();
  assert.equal(world.state(), 'discarded');
});

test('a later process does nothing about a migration whose end was not written when another followed it', async (t) => {
  const world = new World(t);
  await bring(world, 'reserved');
  const { journal } = world;
  const write = journal.setState;
  full(world, 'discarded');
  world.service.tell({ kind: 'cancel', handOver: HAND_OVER });
  await world.service.ended('m1');
  journal.setState = write;
  const next = { ...HAND_OVER, id: 'm2' };
  await world.service.reserve(orderOf(next));
  while (world.state('m2') !== 'reserved') await new Promise((resolve) => setTimeout(resolve, 5));
  world.machine.load();
  while (world.state('m2') !== 'ready') await new Promise((resolve) => setTimeout(resolve, 5));
  await world.commit(next);
  while (world.state('m2') !== 'settled') await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(world.state(), 'discarding');
  world.source = undefined;
  world.kill();
  await world.until('discarded');
  assert.equal(world.machine.qemu?.running, true, 'the VM that came by the other one runs on');
  assert.equal(world.machine.calls.filter((call) => call === 'pauseVm').length, 0);
});

test('a VM that cannot be taken in, as the disk is full, is taken in when there is room', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.machine.vm = Object.create(null); // nothing looks at it
  let arrivals = 0;
  world.arrived = () => {
    arrivals += 1;
    if (arrivals < 3) throw new Error('database or disk is full');
  };
  await world.commit();
  await world.until('settled');
  assert.equal(arrivals, 3);
  assert.equal(world.machine.settled, 1, 'what needs the disk is done after it');
});

test('a link that breaks in post-copy is listened for anew, once for each break', async (t) => {
  const world = new World(t);
  await bring(world, 'ready');
  world.machine.qemu = { status: 'paused', running: false, migration: 'postcopy-active' };
  await world.commit();
  await world.until('attached');
  world.source = 'committed';
  const listens = () => world.machine.calls.filter((call) => call === 'recoverCopy').length;
  for (const n of [1, 2]) {
    world.machine.qemu = { status: 'running', running: true, migration: 'postcopy-paused' };
    world.machine.tell();
    while (listens() < n) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(listens(), n);
    world.machine.qemu = { status: 'running', running: true, migration: 'postcopy-active' };
    world.machine.tell();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(world.state(), 'attached');
  world.machine.qemu = { status: 'running', running: true, migration: 'completed' };
  world.machine.tell();
  await world.until('settled');
});

test('a report waits for news, and no longer than it was told', async (t) => {
  const world = new World(t);
  await bring(world, 'reserved');
  const { told } = await world.service.report(HAND_OVER.id, 0, 0);
  const after = told.at(-1)?.rev ?? 0;
  const quiet = await world.service.report(HAND_OVER.id, after, 30);
  assert.deepEqual(quiet.told, []);
  const waiting = world.service.report(HAND_OVER.id, after, 20_000);
  world.machine.load();
  assert.ok((await waiting).told.length > 0);
});

test('every act of the hands is one that a kill was tried at, or changes nothing', () => {
  const tried: (keyof IncomingHands)[] = [...ACTS, 'discard', 'release'];
  const harmless: (keyof IncomingHands)[] = [
    ...(['listen', 'refusal', 'claimed', 'remains', 'take', 'close'] as const),
    ...(['pauseVm', 'recoverCopy'] as const),
  ];
  const names = Object.getOwnPropertyNames(FakeHands.prototype).filter(
    (name) => !['constructor', 'die'].includes(name),
  );
  assert.deepEqual(names.toSorted(), [...tried, ...harmless].toSorted());
});

test('a cancel is taken although the journal cannot be written, before the order and after it', async (t) => {
  const world = new World(t);
  world.journal.open = () => {
    throw new Error('database or disk is full');
  };
  const { service } = world;
  assert.deepEqual(service.tell({ kind: 'cancel', handOver: HAND_OVER }), { kind: 'discarded' });
  assert.deepEqual(await service.reserve(orderOf(HAND_OVER)), { kind: 'discarded' });
  await assert.rejects(service.reserve(orderOf({ ...HAND_OVER, id: 'm2' })), refusedAs('JOURNAL_UNWRITABLE'));

  const other = new World(t);
  await bring(other, 'receiving');
  for (const kind of ['discarding', 'discarded']) full(other, kind);
  other.service.tell({ kind: 'cancel', handOver: HAND_OVER });
  await other.service.ended(HAND_OVER.id);
  await nothingLeft(other);
  assert.deepEqual(other.service.tell({ kind: 'cancel', handOver: HAND_OVER }), { kind: 'discarded' });
  assert.deepEqual((await other.service.report(HAND_OVER.id, 0, 0)).state, { kind: 'discarded' });
  // with room again, a later process finds the same end
  other.source = 'over';
  other.kill();
  await other.until('discarded');
});
