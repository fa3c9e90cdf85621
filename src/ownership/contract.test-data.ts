/** What every ownership store does: the same tests for each of them. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { REMEMBERED } from './record.ts';
import type { HandOverOutcome, Ownership, OwnershipStore } from './store.ts';

/** Stores that share their data, as those of several hosts do; empty at first, closed after the test. */
export type Hosts = (t: TestContext, count: number) => Promise<OwnershipStore[]>;

export const refusedWith = (code: string, text = /(?:)/) => {
  return (error: unknown): boolean => {
    assert.ok(error instanceof ShadowferryError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };
};

const codeOf = (error: unknown): string => (error instanceof ShadowferryError ? error.code : String(error));

export async function oneStore(hosts: Hosts, t: TestContext): Promise<OwnershipStore> {
  const [store] = await hosts(t, 1);
  assert.ok(store);
  return store;
}

export function ownershipContract(name: string, hosts: Hosts, skip: string | false = false): void {
  const behaves = (what: string, act: (t: TestContext) => Promise<void>) =>
    test(`${name}: ${what}`, { skip }, act);

  behaves('a VM that is registered belongs to its host, and may be registered there again', async (t) => {
    const store = await oneStore(hosts, t);
    assert.equal(await store.read('web1'), undefined);
    const owned = await store.register('web1', 'a');
    assert.deepEqual(owned, { vm: 'web1', owner: 'a', epoch: 1 });
    assert.deepEqual(await store.register('web1', 'a'), owned);
    assert.deepEqual(await store.read('web1'), owned);
    await assert.rejects(store.register('web1', 'b'), refusedWith('NOT_OWNER'));
  });

  behaves('a hand-over happens once: the second one from the same record is refused', async (t) => {
    const [store, other] = await hosts(t, 2);
    assert.ok(store && other);
    const first = await store.register('web1', 'a');
    assert.deepEqual(await store.handOver(first, 'b'), { vm: 'web1', owner: 'b', epoch: 2 });
    await assert.rejects(other.handOver(first, 'c'), refusedWith('NOT_OWNER', /owner "b", epoch 2/));
    await assert.rejects(store.handOver({ ...first, vm: 'nobody' }, 'b'), refusedWith('NOT_OWNER'));
    assert.deepEqual(await other.read('web1'), { vm: 'web1', owner: 'b', epoch: 2 });
  });

  behaves('the source may not take the VM back by registering it again', async (t) => {
    const store = await oneStore(hosts, t);
    await store.handOver(await store.register('web1', 'a'), 'b');
    await assert.rejects(store.register('web1', 'a'), refusedWith('NOT_OWNER'));
  });

  behaves('a record of earlier is refused, although its owner is the owner again', async (t) => {
    const store = await oneStore(hosts, t);
    const first = await store.register('web1', 'a');
    const third = await store.handOver(await store.handOver(first, 'b'), 'a');
    await assert.rejects(store.handOver(first, 'c'), refusedWith('NOT_OWNER', /owner "a", epoch 3/));
    assert.deepEqual(await store.read('web1'), third);
  });

  behaves('of 50 racing hand-overs exactly one happens', async (t) => {
    const stores = await hosts(t, 5);
    const first = await stores[0]?.register('web1', 'a');
    assert.ok(first);
    for (const store of stores) await store.read('web1'); // all are connected: none has a start
    const tries = Array.from({ length: 50 }, (_, at) => `host${at}`);
    const ended = await Promise.allSettled(
      tries.map(async (host, at) => stores[at % stores.length]?.handOver(first, host)),
    );
    const won = ended.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    const refused = ended.flatMap((each) => (each.status === 'rejected' ? [codeOf(each.reason)] : []));
    assert.equal(won.length, 1);
    assert.deepEqual(refused, Array(49).fill('NOT_OWNER'));
    assert.deepEqual(await stores[1]?.read('web1'), won[0]);
    assert.equal(won[0]?.epoch, 2);
  });

  behaves('the epoch grows strictly, also over forgetting and withdrawing', async (t) => {
    const store = await oneStore(hosts, t);
    const epochs: number[] = [];
    let now = await store.register('web1', 'a');
    for (const to of ['b', 'a', 'a']) {
      epochs.push(now.epoch);
      now = await store.handOver(now, to);
    }
    epochs.push(now.epoch);
    const { record } = await store.resolveHandOver({ attempt: 'never made', expected: now, to: 'b' });
    epochs.push(record?.epoch ?? 0);
    await store.forget('web1');
    assert.equal(await store.read('web1'), undefined);
    epochs.push((await store.register('web1', 'c')).epoch);
    assert.deepEqual(epochs, [1, 2, 3, 4, 5, 6]);
  });

  behaves('an attempt that is made twice happens once, and both are told so', async (t) => {
    const [store, other] = await hosts(t, 2);
    assert.ok(store && other);
    const first = await store.register('web1', 'a');
    const after = await store.handOver(first, 'b', { attempt: 'm1' });
    assert.deepEqual(await other.handOver(first, 'b', { attempt: 'm1' }), after);
    assert.deepEqual(await store.read('web1'), after);
  });

  behaves('an attempt is told from that of somebody else, also when the record has moved on', async (t) => {
    const [store, other] = await hosts(t, 2);
    assert.ok(store && other);
    const expected = await store.register('web1', 'a');
    let now = await store.handOver(expected, 'b', { attempt: 'mine' });
    now = await store.handOver(now, 'c');
    const mine = await other.resolveHandOver({ attempt: 'mine', expected, to: 'b' });
    assert.deepEqual([mine.action, mine.record], ['committed', now]);
    const theirs = await other.resolveHandOver({ attempt: 'theirs', expected, to: 'd' });
    assert.deepEqual([theirs.action, theirs.record], ['withdrawn', now]);
    assert.match(theirs.reason, /epoch 2 was made by mine/);
    assert.deepEqual(await store.read('web1'), now, 'looking changes nothing');
  });

  behaves('an attempt that was withdrawn can never be made again', async (t) => {
    const [store, other] = await hosts(t, 2);
    assert.ok(store && other);
    const expected = await store.register('web1', 'a');
    const attempt = { attempt: 'm1', expected, to: 'b' };
    const first = await other.resolveHandOver(attempt);
    assert.deepEqual([first.action, first.record?.owner], ['withdrawn', 'a']);
    await assert.rejects(
      store.handOver(expected, 'b', { attempt: 'm1' }),
      refusedWith('HANDOVER_WITHDRAWN', /m1/),
    );
    const second = await store.resolveHandOver(attempt);
    assert.deepEqual([second.action, second.record], ['withdrawn', first.record]);
    const next = await store.handOver({ ...expected, epoch: 2 }, 'b', { attempt: 'm2' });
    assert.deepEqual([next.owner, next.epoch], ['b', 3]);
  });

  behaves('a hand-over and its withdrawal at once: both sides see the same end', async (t) => {
    const [store, other] = await hosts(t, 2);
    assert.ok(store && other);
    for (let round = 0; round < 10; round++) {
      const expected = await store.register(`web${round}`, 'a');
      const attempt = `m${round}`;
      const both: [PromiseSettledResult<Ownership>, PromiseSettledResult<HandOverOutcome>] =
        await Promise.allSettled([
          store.handOver(expected, 'b', { attempt }),
          other.resolveHandOver({ attempt, expected, to: 'b' }),
        ]);
      const [handed, resolved] = both;
      assert.equal(resolved.status, 'fulfilled');
      const now: Ownership | undefined = await store.read(expected.vm);
      assert.equal(now?.owner, resolved.value.action === 'committed' ? 'b' : 'a');
      assert.equal(handed.status, resolved.value.action === 'committed' ? 'fulfilled' : 'rejected');
      if (handed.status === 'rejected') assert.equal(codeOf(handed.reason), 'HANDOVER_WITHDRAWN');
    }
  });

  behaves('an attempt of long ago is not guessed at, and a record of the past is damage', async (t) => {
    const store = await oneStore(hosts, t);
    const expected = await store.register('web1', 'a');
    const attempt = { attempt: 'm1', expected, to: 'a' };
    let now = await store.handOver(expected, 'a', { attempt: 'm1' });
    for (let epoch = 2; epoch <= REMEMBERED; epoch++) now = await store.handOver(now, 'a');
    assert.equal((await store.resolveHandOver(attempt)).action, 'committed');
    await store.handOver(now, 'a');
    await assert.rejects(store.resolveHandOver(attempt), refusedWith('HANDOVER_UNKNOWN', /remembered/));
    const future = { ...attempt, expected: { ...expected, epoch: 99 } };
    await assert.rejects(store.resolveHandOver(future), refusedWith('STORE_DAMAGED', /epoch 99 was seen/));
    const lost = { ...attempt, expected: { ...expected, vm: 'web2' } };
    await assert.rejects(store.resolveHandOver(lost), refusedWith('STORE_DAMAGED', /no record/));
  });

  behaves('a device is held by one VM; claiming it again for the same VM changes nothing', async (t) => {
    const store = await oneStore(hosts, t);
    const claim = { host: 'b', device: 'nic0', vm: 'web1' };
    const before = Date.now();
    await store.claimDevice(claim);
    await store.claimDevice(claim);
    const other = { ...claim, vm: 'web2' };
    await assert.rejects(store.claimDevice(other), refusedWith('DEVICE_CLAIMED_TWICE', /held by VM "web1"/));
    await store.releaseDevice(other);
    const [held, ...more] = await store.claims('b');
    assert.deepEqual({ ...held, atMs: 0 }, { ...claim, atMs: 0 });
    assert.ok(held && held.atMs >= before && held.atMs <= Date.now());
    assert.deepEqual(more, []);
    assert.deepEqual(await store.claims('a'), []);
    await store.releaseDevice(claim);
    await store.claimDevice(other);
  });

  behaves("a migration's claim becomes the VM's own, and another migration may not have it", async (t) => {
    const store = await oneStore(hosts, t);
    const own = { host: 'b', device: 'nic0', vm: 'web1' };
    const m1 = { ...own, migration: 'm1' };
    const m2 = { ...own, migration: 'm2' };
    await store.claimDevice(m1);
    assert.equal((await store.claims())[0]?.migration, 'm1');
    await assert.rejects(store.claimDevice(m2), refusedWith('DEVICE_CLAIMED_TWICE', /migration m1/));
    await store.releaseDevice(m2);
    await store.claimDevice(own);
    await store.claimDevice(m2); // nothing to do: the VM has it
    await store.releaseDevice(m2); // and so the end of that migration does not free it
    const [held] = await store.claims();
    assert.deepEqual([held?.vm, held !== undefined && 'migration' in held], ['web1', false]);
    await store.releaseDevice(own);
    await store.claimDevice(m1);
    await store.releaseDevice(m1);
    assert.deepEqual(await store.claims(), []);
  });

  behaves('of 20 VMs that claim a device at once exactly one gets it', async (t) => {
    const stores = await hosts(t, 4);
    const ended = await Promise.allSettled(
      Array.from({ length: 20 }, (_, at) =>
        stores[at % 4]?.claimDevice({ host: 'b', device: 'nic0', vm: `web${at}` }),
      ),
    );
    const won = ended.flatMap(({ status }, at) => (status === 'fulfilled' ? [`web${at}`] : []));
    assert.equal(won.length, 1);
    assert.deepEqual(
      (await stores[0]?.claims())?.map(({ vm }) => vm),
      won,
    );
    for (const each of ended)
      if (each.status === 'rejected') assert.equal(codeOf(each.reason), 'DEVICE_CLAIMED_TWICE');
  });

  behaves('forgetting a VM frees its devices and no others', async (t) => {
    const store = await oneStore(hosts, t);
    await store.register('web1', 'a');
    for (const device of ['nic0', 'nic1']) await store.claimDevice({ host: 'a', device, vm: 'web1' });
    await store.claimDevice({ host: 'b', device: 'nic0', vm: 'web2' });
    await store.forget('web1');
    await store.forget('web1');
    await store.forget('nobody');
    assert.deepEqual(await store.list(), []);
    assert.deepEqual(
      (await store.claims()).map(({ vm }) => vm),
      ['web2'],
    );
    await assert.rejects(
      store.handOver({ vm: 'web1', owner: 'a', epoch: 1 }, 'b'),
      refusedWith('NOT_OWNER', /nobody/),
    );
  });

  behaves('names are kept whatever they look like, and lists are in order', async (t) => {
    const store = await oneStore(hosts, t);
    const names = ['b/../a', 'ü"\'%2F', 'web 1\n', '%'];
    for (const vm of names) {
      await store.register(vm, vm);
      await store.claimDevice({ host: vm, device: vm, vm });
    }
    const sorted = names.toSorted((a, b) => (a < b ? -1 : 1));
    assert.deepEqual(
      (await store.list()).map(({ vm, owner }) => [vm, owner]),
      sorted.map((vm) => [vm, vm]),
    );
    assert.deepEqual(
      (await store.claims()).map(({ host, device }) => [host, device]),
      sorted.map((vm) => [vm, vm]),
    );
    assert.equal((await store.claims('%')).length, 1);
    // a host whose name begins as another's does
    await store.claimDevice({ host: '%%', device: 'nic0', vm: 'web' });
    assert.equal((await store.claims('%')).length, 1);
  });

  behaves('a call whose caller gave up before it began does nothing', async (t) => {
    const store = await oneStore(hosts, t);
    const first = await store.register('web1', 'a');
    const signal = AbortSignal.abort(new Error('given up'));
    await assert.rejects(store.handOver(first, 'b', { signal }), /given up/);
    await assert.rejects(store.claimDevice({ host: 'a', device: 'nic0', vm: 'web1' }, signal), /given up/);
    assert.deepEqual(await store.read('web1'), first);
    assert.deepEqual(await store.claims(), []);
  });
}
