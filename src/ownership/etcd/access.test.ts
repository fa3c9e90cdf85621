/** Who is let in to etcd, what is refused, and what is found there that is not ours. Real members. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { refusedWith } from '../contract.test-data.ts';
import { EtcdClient } from './client.ts';
import { Cluster, withoutEtcd } from './cluster.test-data.ts';
import type { EtcdConfig } from './config.ts';
import { vmValue } from './keys.ts';
import { EtcdOwnership } from './ownership.ts';
import { encode, endOf } from './wire.ts';

const skip = withoutEtcd;
const PREFIX = '/shadowferry';
let directory: string;
let cluster: Cluster;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sf-access-'));
  if (skip === false) cluster = await Cluster.start(1);
});
after(async () => {
  await cluster?.stop();
  rmSync(directory, { recursive: true });
});

function opened(t: TestContext, config: EtcdConfig): EtcdOwnership {
  const store = new EtcdOwnership(config);
  t.after(() => store.close());
  return store;
}

/** What an administrator does, past our client. */
async function admin(path: string, body: object, token = ''): Promise<{ token: string }> {
  const response = await fetch(`http://127.0.0.1:${cluster.members[0]?.clientPort}/v3/${path}`, {
    method: 'POST',
    headers: token === '' ? {} : { authorization: token },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`);
  const answer: unknown = await response.json();
  const given = typeof answer === 'object' && answer !== null && 'token' in answer ? answer.token : '';
  return { token: String(given) };
}

function passwordFile(name: string, password: string): string {
  const path = join(directory, name);
  writeFileSync(path, `${password}\n`);
  return path;
}

/** A server that is not the etcd that was meant. */
async function pretender(t: TestContext, answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

test('what is no etcd, an old one, or of another cluster is named, and the others are used', {
  skip,
}, async (t) => {
  const page = await pretender(t, (_, response) => response.end('<html>'));
  const old = await pretender(t, (_, response) => response.end('{"etcdserver":"3.3.27"}'));
  const foreign = await pretender(t, (request, response) => {
    const header = { cluster_id: '1', revision: '1' };
    response.end(JSON.stringify(request.url === '/version' ? { etcdserver: '3.5.9' } : { header }));
  });
  const endpoints = [page, old, ...cluster.config().endpoints, foreign];
  const store = opened(t, cluster.config({ endpoints, prefix: `${PREFIX}/${randomUUID()}` }));
  assert.deepEqual(await store.register('web1', 'a'), { vm: 'web1', owner: 'a', epoch: 1 });
  for (const [url, says] of [
    [page, /not answer as etcd/],
    [old, /3\.3\.27 is older than 3\.4/],
  ] as const) {
    const other = opened(t, cluster.config({ endpoints: [url] }));
    await assert.rejects(other.read('web1'), refusedWith('STORE_UNFIT', says));
  }
  const client = new EtcdClient(cluster.config({ endpoints: [...cluster.config().endpoints, foreign] }));
  t.after(() => client.close());
  const { member } = await client.ready(deadline('the test', 10_000));
  client.demote(member);
  await assert.rejects(client.ready(deadline('the test', 10_000)), /another cluster/);
});

test('values that are damaged or of a newer program are not guessed at', { skip }, async (t) => {
  const prefix = `${PREFIX}/${randomUUID()}`;
  const config = cluster.config({ prefix });
  const store = opened(t, config);
  const client = new EtcdClient(config);
  t.after(() => client.close());
  const signal = deadline('the test', 20_000);
  for (const [value, says] of [
    ['{', /not JSON/],
    ['{"schema":2,"owner":"a"}', /schema 2; this program knows schemas up to 1/],
    ['{"schema":1,"owner":"a","epoch":"1","changes":[]}', /epoch/],
    ['[]', /object/],
  ] as const) {
    await client.change([], [{ put: `${prefix}/vm/web1`, value }], signal);
    await assert.rejects(store.read('web1'), refusedWith('STORE_DAMAGED', says));
    await assert.rejects(store.register('web1', 'a'), refusedWith('STORE_DAMAGED', says));
    await assert.rejects(store.list(), refusedWith('STORE_DAMAGED', says));
  }
});

test('lists are whole however long they are', { skip }, async (t) => {
  const prefix = `${PREFIX}/${randomUUID()}`;
  const config = cluster.config({ prefix });
  const store = opened(t, config);
  const client = new EtcdClient(config);
  t.after(() => client.close());
  const value = vmValue.format({ owner: 'a', epoch: 1, changes: [] });
  const names = Array.from({ length: 1_100 }, (_, at) => `web${String(at).padStart(4, '0')}`);
  for (let at = 0; at < names.length; at += 100) {
    const puts = names.slice(at, at + 100).map((name) => ({ put: `${prefix}/vm/${name}`, value }));
    assert.ok(await client.change([], puts, deadline('the test', 20_000)));
  }
  assert.deepEqual(
    (await store.list()).map(({ vm }) => vm),
    names,
  );
});

test('an etcd whose space is used up changes nothing, says so, and can be read', { skip }, async (t) => {
  const full = await Cluster.start(1, { arguments: ['--quota-backend-bytes=200000'] });
  t.after(() => full.stop());
  const store = opened(t, full.config());
  const client = new EtcdClient(full.config());
  t.after(() => client.close());
  const first = await store.register('web1', 'a');
  const fill = async () => {
    for (let at = 0; at < 200; at++) {
      const put = { put: `${PREFIX}/fill/${at}`, value: 'x'.repeat(5_000) };
      await client.change([], [put], deadline('the test', 20_000));
    }
  };
  await assert.rejects(fill(), refusedWith('STORE_UNFIT', /space exceeded/));
  await assert.rejects(store.handOver(first, 'b'), refusedWith('STORE_UNFIT', /space exceeded/));
  assert.deepEqual(await store.read('web1'), first);
});

test('users: wrong passwords and missing rights are told; a token that ended is renewed', {
  skip,
}, async (t) => {
  const good = passwordFile('password', 'pw');
  const anonymous = opened(t, cluster.config());
  const watchEnd = new AbortController();
  await anonymous.register('web1', 'a');
  for (const name of ['root', 'ferry', 'stranger']) await admin('auth/user/add', { name, password: 'pw' });
  for (const name of ['root', 'ferry']) await admin('auth/role/add', { name });
  const perm = { permType: 'READWRITE', key: encode(`${PREFIX}/`), range_end: encode(endOf(`${PREFIX}/`)) };
  await admin('auth/role/grant', { name: 'ferry', perm });
  for (const name of ['root', 'ferry']) await admin('auth/user/grant', { user: name, role: name });

  const early = opened(t, cluster.config({ auth: { user: 'ferry', passwordFile: good } }));
  await assert.rejects(early.read('web1'), refusedWith('STORE_LOGIN_REFUSED', /not enabled/));
  await admin('auth/enable', {});
  const { token: root } = await admin('auth/authenticate', { name: 'root', password: 'pw' });
  t.after(async () => {
    watchEnd.abort();
    const { token } = await admin('auth/authenticate', { name: 'root', password: 'pw' });
    await admin('auth/disable', {}, token);
  });

  await assert.rejects(anonymous.read('web1'), refusedWith('STORE_LOGIN_REFUSED', /user name is empty/));
  const cases = [
    [{ user: 'ferry', passwordFile: passwordFile('wrong', 'no') }, 'STORE_LOGIN_REFUSED', /"ferry".*failed/],
    [{ user: 'ferry', passwordFile: join(directory, 'absent') }, 'STORE_LOGIN_REFUSED', /ENOENT/],
    [{ user: 'stranger', passwordFile: good }, 'STORE_FORBIDDEN', /"stranger".*"\/shadowferry"/],
  ] as const;
  for (const [auth, code, says] of cases) {
    const store = opened(t, cluster.config({ auth }));
    await assert.rejects(store.read('web1'), refusedWith(code, says));
    await assert.rejects(store.watch(watchEnd.signal).next(), refusedWith(code, says));
  }

  const store = opened(t, cluster.config({ auth: { user: 'ferry', passwordFile: good }, timeoutMs: 20_000 }));
  const first = await store.read('web1');
  assert.ok(first);
  const watched = store.watch(watchEnd.signal);
  assert.equal((await watched.next()).value?.kind, 'all');
  // a change of the users makes old tokens invalid, and a restart forgets them
  await admin('auth/user/add', { name: 'one more', password: 'pw' }, root);
  const second = await store.handOver(first, 'b');
  const [member] = cluster.members;
  assert.ok(member);
  await cluster.kill(member);
  cluster.startMember(member);
  await cluster.healthy();
  const third = await store.handOver(second, 'c');
  await store.claimDevice({ host: 'c', device: 'nic0', vm: 'web1' });
  for (const record of [second, third]) {
    assert.deepEqual((await watched.next()).value, { kind: 'changed', record });
  }
});
