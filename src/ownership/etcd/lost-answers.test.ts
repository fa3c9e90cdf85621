/** Hand-overs whose answer does not come: how they ended is always found out, and never guessed. One real member. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, type TestContext, test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { refusedWith } from '../contract.test-data.ts';
import { mayRun } from '../guard.ts';
import type { Ownership } from '../store.ts';
import { Cluster, type Member, withoutEtcd } from './cluster.test-data.ts';
import type { Fate } from './faulty-line.test-data.ts';
import { EtcdOwnership } from './ownership.ts';

const skip = withoutEtcd;
let cluster: Cluster;
let member: Member;
before(async () => {
  if (skip !== false) return;
  cluster = await Cluster.start(1);
  const [first] = cluster.members;
  assert.ok(first);
  member = first;
});
after(() => cluster?.stop());

/** For calls that end well after a half of it, and for those that end with it. */
const LONG_MS = 2_400;
const SHORT_MS = 1_200;

/** A VM that "a" owns, with the store through the faulty line, and one that sees how things are. */
async function setUp(
  t: TestContext,
  timeoutMs = LONG_MS,
): Promise<{ store: EtcdOwnership; direct: EtcdOwnership; first: Ownership }> {
  const prefix = `/test/${randomUUID()}`;
  const times = { prefix, timeoutMs, memberMs: 200 };
  const store = new EtcdOwnership(cluster.config(times));
  const endpoints = [`http://127.0.0.1:${member.clientPort}`];
  const direct = new EtcdOwnership(cluster.config({ prefix, endpoints }));
  t.after(() => {
    member.client.fate = () => 'pass';
    member.client.onLost = () => {};
    member.client.delayMs = 0;
    store.close();
    direct.close();
  });
  return { store, direct, first: await store.register('web1', 'a') };
}

const isChange = (piece: string): boolean => piece.startsWith('POST /v3/kv/txn');

/** The first change has this fate; what comes after it, the other. */
function firstChange(fate: Fate, others: Fate): void {
  let met = false;
  member.client.fate = (piece) => {
    if (met) return others;
    met = isChange(piece);
    return met ? fate : 'pass';
  };
}

test('the answer got lost and the hand-over happened: it is found, and told as done', { skip }, async (t) => {
  const { store, direct, first } = await setUp(t);
  firstChange('lose-answer', 'pass');
  const after = await store.handOver(first, 'b');
  assert.deepEqual(after, { vm: 'web1', owner: 'b', epoch: 2 });
  assert.deepEqual(await direct.read('web1'), after);
});

test('the request got lost: the hand-over is withdrawn, and the owner stays', { skip }, async (t) => {
  const { store, direct, first } = await setUp(t);
  firstChange('lose-request', 'pass');
  await assert.rejects(store.handOver(first, 'b'), refusedWith('STORE_UNREACHABLE', /was withdrawn/));
  const now = await direct.read('web1');
  assert.deepEqual(now, { vm: 'web1', owner: 'a', epoch: 2 });
  assert.deepEqual(await store.handOver(now, 'b'), { vm: 'web1', owner: 'b', epoch: 3 });
});

test('a request that comes late finds that it was withdrawn, and changes nothing', { skip }, async (t) => {
  const { store, direct, first } = await setUp(t);
  firstChange('hold', 'pass');
  await assert.rejects(store.handOver(first, 'b'), refusedWith('STORE_UNREACHABLE', /was withdrawn/));
  const before = await direct.read('web1');
  const [answer = ''] = await member.client.release();
  assert.match(answer, /200 OK/);
  assert.doesNotMatch(answer, /succeeded/);
  assert.deepEqual(await direct.read('web1'), before);
});

for (const [fate, action, owner] of [
  ['lose-answer', 'committed', 'b'],
  ['lose-request', 'withdrawn', 'a'],
] as const) {
  const what = `nothing is heard after the request (${fate}): unknown, and later resolved as ${action}`;
  test(what, { skip }, async (t) => {
    const { store, direct, first } = await setUp(t, SHORT_MS);
    firstChange(fate, 'lose-request');
    const attempt = { attempt: 'm1', expected: first, to: 'b' };
    const began = performance.now();
    await assert.rejects(
      store.handOver(first, 'b', { attempt: 'm1' }),
      refusedWith('HANDOVER_UNKNOWN', /attempt m1/),
    );
    assert.ok(performance.now() - began < 3 * SHORT_MS, 'it kept its limit');
    await assert.rejects(store.resolveHandOver(attempt), refusedWith('HANDOVER_UNKNOWN'));
    assert.equal((await mayRun(store, 'web1', 'a')).allowed, false);
    member.client.fate = () => 'pass';
    const outcome = await store.resolveHandOver(attempt);
    assert.equal(outcome.action, action);
    assert.equal(outcome.record?.owner, owner);
    assert.deepEqual(await direct.read('web1'), outcome.record);
    assert.equal((await mayRun(store, 'web1', owner)).allowed, true);
  });
}

test('a caller who gives up while the answer is out is told that it is unknown', { skip }, async (t) => {
  const { store, first } = await setUp(t);
  const cancel = new AbortController();
  firstChange('lose-answer', 'pass');
  member.client.onLost = () => cancel.abort(new Error('given up'));
  const handing = store.handOver(first, 'b', { attempt: 'm1', signal: cancel.signal });
  await assert.rejects(handing, refusedWith('HANDOVER_UNKNOWN'));
  const { action } = await store.resolveHandOver({ attempt: 'm1', expected: first, to: 'b' });
  assert.equal(action, 'committed');
});

test('claims whose answers get lost are made and freed once', { skip }, async (t) => {
  const { store, direct } = await setUp(t);
  const claim = { host: 'a', device: 'nic0', vm: 'web1' };
  firstChange('lose-answer', 'pass');
  await store.claimDevice(claim);
  firstChange('lose-request', 'pass');
  await store.claimDevice({ ...claim, device: 'nic1' });
  assert.equal((await direct.claims()).length, 2);
  firstChange('lose-answer', 'pass');
  await store.releaseDevice(claim);
  assert.equal((await direct.claims()).length, 1);
});

test('an etcd that is slower than one try still answers within the limit', { skip }, async (t) => {
  const { store, first } = await setUp(t);
  member.client.delayMs = 150; // each way, so that 200 ms are too little
  const signal = deadline('the test', 20_000);
  const after = await store.handOver(first, 'b', { signal });
  await store.claimDevice({ host: 'b', device: 'nic0', vm: 'web1' }, signal);
  assert.deepEqual(await store.read('web1', signal), after);
});

test('etcd is down: calls fail by their limit; it comes back with its data, and they go on', {
  skip,
}, async (t) => {
  const { store, first } = await setUp(t, SHORT_MS);
  const second = await store.handOver(first, 'b');
  await cluster.kill(member);
  const calls = [
    () => store.handOver(second, 'c'),
    () => store.read('web1'),
    () => store.list(),
    () => store.register('web2', 'a'),
    () => store.claimDevice({ host: 'a', device: 'nic0', vm: 'web1' }),
    () => store.forget('web1'),
  ];
  await Promise.all(calls.map((call) => assert.rejects(call(), refusedWith('STORE_UNREACHABLE'))));
  const refusal = await mayRun(store, 'web1', 'b');
  assert.equal(refusal.allowed, false);
  assert.match(refusal.reason, /cannot be reached/);
  cluster.startMember(member);
  await cluster.healthy();
  assert.deepEqual(await store.list(), [second]);
  assert.equal((await store.handOver(second, 'c')).epoch, 3);
});
