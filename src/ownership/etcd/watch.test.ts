/** Watching ownership and hosts, over restarts, compaction and leases that end. One real member. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, type TestContext, test } from 'node:test';
import { EtcdClient } from './client.ts';
import { Cluster, type Member, withoutEtcd } from './cluster.test-data.ts';
import type { EtcdConfig } from './config.ts';
import { HostRegistry } from './hosts.ts';
import { EtcdOwnership } from './ownership.ts';
import { AnyAnswer } from './wire.ts';

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

function newConfig(): EtcdConfig {
  return cluster.config({ prefix: `/test/${randomUUID()}`, timeoutMs: 20_000, memberMs: 500 });
}

/** A store that comes past the faulty line. */
function beside(t: TestContext, config: EtcdConfig): EtcdOwnership {
  const store = new EtcdOwnership({ ...config, endpoints: [`http://127.0.0.1:${member.clientPort}`] });
  t.after(() => store.close());
  return store;
}

test('changes that come while the watch is broken are told when it is mended', { skip }, async (t) => {
  const config = newConfig();
  const store = beside(t, config);
  const watcher = new EtcdOwnership(config);
  const end = new AbortController();
  t.after(() => {
    end.abort();
    watcher.close();
  });
  const changes = watcher.watch(end.signal);
  const next = async () => (await changes.next()).value;
  assert.deepEqual(await next(), { kind: 'all', records: [], reason: 'the watch begins' });
  let now = await store.register('web1', 'a');
  assert.deepEqual(await next(), { kind: 'changed', record: now });
  member.client.fate = () => 'lose-request';
  member.client.cut();
  now = await store.handOver(now, 'b');
  await store.forget('web1');
  member.client.fate = () => 'pass';
  member.client.cut();
  assert.deepEqual(await next(), { kind: 'changed', record: now });
  assert.deepEqual(await next(), { kind: 'forgotten', vm: 'web1' });
  await cluster.kill(member);
  cluster.startMember(member);
  await cluster.healthy();
  now = await store.register('web1', 'c');
  assert.deepEqual(await next(), { kind: 'changed', record: now });
  end.abort();
  assert.equal((await changes.next()).done, true);
});

test('what was compacted away while the watch was broken is made up for by looking at all', {
  skip,
}, async (t) => {
  const config = newConfig();
  const store = beside(t, config);
  const watcher = new EtcdOwnership(config);
  const client = new EtcdClient(config);
  const end = new AbortController();
  t.after(() => {
    end.abort();
    watcher.close();
    client.close();
  });
  let now = await store.register('web1', 'a');
  const changes = watcher.watch(end.signal);
  await changes.next();
  const broken = changes.next(); // from now on it is read, so that a cut is seen
  now = await store.handOver(now, 'b');
  assert.deepEqual((await broken).value, { kind: 'changed', record: now });
  member.client.fate = (piece) => (piece.includes('/v3/watch') ? 'lose-request' : 'pass');
  member.client.cut();
  for (const to of ['c', 'd']) now = await store.handOver(now, to);
  const { revision } = await client.all(config.prefix, client.limit(undefined));
  const body = { revision };
  const call = { path: '/v3/kv/compaction', body, schema: AnyAnswer, repeatable: true };
  await client.call({ ...call, signal: client.limit(undefined) });
  member.client.fate = () => 'pass';
  member.client.cut();
  const { value } = await changes.next();
  assert.equal(value?.kind, 'all');
  assert.deepEqual(value.records, [now]);
  assert.match(value.reason, /compacted/);
});

test('a connection that stands still is noticed, and the watch goes on over another', { skip }, async (t) => {
  const config = newConfig();
  const store = beside(t, config);
  const watcher = new EtcdOwnership(config);
  const end = new AbortController();
  t.after(() => {
    end.abort();
    watcher.close();
  });
  const changes = watcher.watch(end.signal);
  await changes.next();
  const broken = changes.next();
  let now = await store.register('web1', 'a');
  await broken;
  const waiting = changes.next();
  // those who are connected now hear nothing more, and are not told that they are cut off
  const old = new Set<number>();
  let fresh = false;
  member.client.connected = (port) => {
    if (!fresh) old.add(port);
    return !old.has(port);
  };
  now = await store.handOver(now, 'b', { attempt: 'while it stands still' });
  const probe = new EtcdClient(config); // its first piece goes nowhere as well
  await probe.get('x', AbortSignal.timeout(100)).catch(() => {});
  probe.close();
  fresh = true;
  assert.deepEqual((await waiting).value, { kind: 'changed', record: now });
  member.client.connected = () => true;
});

test('a host is there while it announces itself, over failures of etcd, and not after', {
  skip,
}, async (t) => {
  const config = newConfig();
  const registry = new HostRegistry(config);
  const end = new AbortController();
  t.after(() => {
    end.abort();
    registry.close();
  });
  const states: boolean[] = [];
  let told = () => {};
  const until = (announced: boolean, count: number) =>
    new Promise<void>((resolve) => {
      told = () => states.filter((each) => each === announced).length >= count && resolve();
      told();
    });
  const host = { name: 'a', address: 'https://10.0.0.1:7443', version: '0.1.0' };
  const announcing = registry.announce(host, {
    ttlSeconds: 1,
    signal: end.signal,
    say: ({ announced }) => {
      states.push(announced);
      told();
    },
  });
  await until(true, 1);
  const [listed, ...more] = await registry.list();
  assert.deepEqual({ ...listed, atMs: 0 }, { ...host, atMs: 0 });
  assert.deepEqual(more, []);
  // nothing gets through until etcd has let the lease end; then there is a new one
  const beyond = new HostRegistry({ ...config, endpoints: [`http://127.0.0.1:${member.clientPort}`] });
  t.after(() => beyond.close());
  member.client.fate = () => 'lose-request';
  for (const limit = AbortSignal.timeout(20_000); (await beyond.list()).length > 0; ) limit.throwIfAborted();
  member.client.fate = () => 'pass';
  member.client.cut();
  await until(true, 2);
  assert.equal((await beyond.list()).length, 1);
  end.abort();
  await announcing;
  assert.deepEqual(await beyond.list(), []);
});
