/** Three real members, of which some die, stand still, or are cut off; and a watch that misses nothing of it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { refusedWith } from '../contract.test-data.ts';
import type { Ownership } from '../store.ts';
import { Cluster, type Member, withoutEtcd } from './cluster.test-data.ts';
import { EtcdOwnership } from './ownership.ts';

const skip = withoutEtcd;
const LONG_MS = 30_000;
const VM = 'web1';
let cluster: Cluster;
const stores: EtcdOwnership[] = [];
const watching = new AbortController();
const seen: Ownership[] = [];
let watched: Promise<void>;
/** Told of each change that the watch sees. */
let onSeen: () => void = () => {};

/** A store whose members are asked in this order. */
function storeAt(members: readonly Member[], timeoutMs = LONG_MS): EtcdOwnership {
  const store = new EtcdOwnership(cluster.config({ timeoutMs, memberMs: 300 }, members));
  stores.push(store);
  return store;
}

const others = (member: Member) => cluster.members.filter((each) => each !== member);
const first = (member: Member) => [member, ...others(member)];

/** Hands the VM to the other host; gives the record. */
async function move(store: EtcdOwnership): Promise<Ownership> {
  const now = await store.read(VM);
  assert.ok(now);
  const after = await store.handOver(now, now.owner === 'a' ? 'b' : 'a');
  assert.equal(after.epoch, now.epoch + 1);
  return after;
}

before(async () => {
  if (skip !== false) return;
  cluster = await Cluster.start(3);
  const store = storeAt(cluster.members);
  await store.register(VM, 'a');
  watched = (async () => {
    for await (const change of store.watch(watching.signal)) {
      if (change.kind === 'all') seen.push(...change.records);
      if (change.kind === 'changed') seen.push(change.record);
      onSeen();
    }
  })();
});

after(async () => {
  watching.abort();
  for (const store of stores) store.close();
  await watched;
  await cluster?.stop();
});

for (const role of ['leader', 'follower'] as const) {
  test(`the ${role} is killed: hand-overs go on, also from a host that asks it first`, { skip }, async () => {
    const member = (await cluster.roles())[role];
    const store = storeAt(first(member));
    await move(store);
    await cluster.kill(member);
    await move(store);
    cluster.startMember(member);
    await cluster.healthy();
    await move(store);
  });
}

test('the leader stands still: another one is asked', { skip }, async () => {
  const { leader } = await cluster.roles();
  const store = storeAt(first(leader));
  await move(store);
  leader.process?.kill('SIGSTOP');
  try {
    await move(store);
  } finally {
    leader.process?.kill('SIGCONT');
  }
  await cluster.healthy();
});

test('the leader is cut off: hosts on its side can do nothing, the others go on', { skip }, async () => {
  const { leader } = await cluster.roles();
  const inside = storeAt([leader], 2_000);
  const outside = storeAt(others(leader));
  const now = await move(outside);
  await inside.read(VM);
  cluster.cutOff(leader);
  try {
    await assert.rejects(inside.handOver(now, 'c'), refusedWith('STORE_UNREACHABLE'));
    // a host whose own way to that member is whole is no better off
    const endpoints = [`http://127.0.0.1:${leader.clientPort}`];
    const beside = new EtcdOwnership(cluster.config({ endpoints, timeoutMs: 2_000 }));
    stores.push(beside);
    await assert.rejects(beside.handOver(now, 'c'), refusedWith('STORE_UNREACHABLE'));
    await assert.rejects(beside.read(VM), refusedWith('STORE_UNREACHABLE'));
    await move(outside);
  } finally {
    cluster.heal();
  }
  await cluster.healthy();
  assert.deepEqual(
    await inside.read(VM, deadline('reading', LONG_MS)),
    await outside.read(VM),
    'the member has caught up',
  );
});

test('the majority is lost while a hand-over is out: unknown, and the same for all when they are back', {
  skip,
}, async () => {
  const { leader } = await cluster.roles();
  const store = storeAt([leader], 2_000);
  const expected = await store.read(VM);
  assert.ok(expected);
  const stopped = others(leader);
  leader.client.fate = (piece) => {
    if (piece.startsWith('POST /v3/kv/txn')) for (const each of stopped) each.process?.kill('SIGSTOP');
    return 'pass';
  };
  const attempt = { attempt: 'm1', expected, to: 'c' };
  try {
    await assert.rejects(store.handOver(expected, 'c', { attempt: 'm1' }), refusedWith('HANDOVER_UNKNOWN'));
  } finally {
    leader.client.fate = () => 'pass';
    for (const each of stopped) each.process?.kill('SIGCONT');
  }
  await cluster.healthy();
  const all = storeAt(cluster.members);
  const outcome = await all.resolveHandOver(attempt);
  assert.equal(outcome.record?.owner, outcome.action === 'committed' ? 'c' : expected.owner);
  assert.deepEqual(await all.read(VM), outcome.record);
  assert.equal((await all.resolveHandOver(attempt)).action, outcome.action);
});

test('the majority is dead: calls fail by their limit, and nothing has changed', { skip }, async () => {
  const [one, two, three] = cluster.members;
  assert.ok(one && two && three);
  const store = storeAt(cluster.members, 2_000);
  const now = await store.read(VM);
  assert.ok(now);
  await cluster.kill(one);
  await cluster.kill(two);
  const began = performance.now();
  const claim = { host: 'a', device: 'nic0', vm: VM };
  await Promise.all([
    assert.rejects(store.handOver(now, 'd'), refusedWith('STORE_UNREACHABLE')),
    assert.rejects(store.read(VM), refusedWith('STORE_UNREACHABLE')),
    assert.rejects(store.claimDevice(claim), refusedWith('STORE_UNREACHABLE')),
  ]);
  assert.ok(performance.now() - began < 10_000, 'they kept their limit');
  cluster.startMember(one);
  cluster.startMember(two);
  await cluster.healthy();
  const all = storeAt(cluster.members);
  assert.deepEqual(await all.read(VM), now);
  assert.deepEqual(await all.claims(), []);
});

test('the watch has seen every change once, in order', { skip }, async () => {
  const last = await move(storeAt(cluster.members));
  const limit = deadline('the watch', LONG_MS);
  await new Promise<void>((resolve, reject) => {
    onSeen = () => seen.at(-1)?.epoch === last.epoch && resolve();
    limit.addEventListener('abort', () => reject(limit.reason));
    onSeen();
  });
  const { epoch } = last;
  assert.deepEqual(
    seen.map((each) => each.epoch),
    Array.from({ length: epoch }, (_, at) => at + 1),
  );
});
