/** The resources as a client sees them, over real stores that another process (here: another connection) writes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { Journal } from '../migration/journal.ts';
import { initialState, transition } from '../migration/machine.ts';
import { SqliteOwnership } from '../ownership/sqlite.ts';
import { shadow } from '../shadow/net/plan.test-data.ts';
import { ShadowStore } from '../shadow/store/store.ts';
import { API } from './api/contract.ts';
import { DaemonClient, parseTarget } from './client/client.ts';
import { type TestDaemon, testDaemon } from './fixture.test-data.ts';
import { JournalTail } from './services/tail.ts';

const code = (wanted: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === wanted;
const all = { params: {}, query: {} };

async function setup(
  t: Parameters<typeof testDaemon>[0],
): Promise<TestDaemon & { client: DaemonClient; journal: Journal }> {
  const made = await testDaemon(t);
  const journal = new Journal(join(made.state, 'journal.db'));
  t.after(() => journal.dispose());
  return { ...made, journal, client: new DaemonClient({ address: made.socket }) };
}

function open(journal: Journal, id: string, vm: string): void {
  journal.open({ id, vm, source: 'alpha', destination: 'beta', request: { vm }, state: initialState(false) });
}

test('hosts: this one and its peers; a look at this one is told to everybody, and done once for a key', async (t) => {
  const { client, looks } = await setup(t);
  const { items } = await client.call(API.listHosts, all);
  assert.deepEqual(
    items.map(({ name, self, address }) => [name, self, address]),
    [
      ['alpha', true, null],
      ['beta', false, '192.0.2.11:7443'],
    ],
  );
  const look = { params: { host: 'alpha' }, query: {}, body: {} };
  const [first, again] = [
    await client.call(API.examineHost, look, { idempotencyKey: 'k1' }),
    await client.call(API.examineHost, look, { idempotencyKey: 'k1' }),
  ];
  assert.deepEqual([first, looks()], [again, 1]);
  await assert.rejects(
    client.call(API.examineHost, { ...look, body: { fresh: true } }, { idempotencyKey: 'k1' }),
    code('IDEMPOTENCY_REUSED'),
  );
  assert.deepEqual(
    (await client.call(API.getHost, { params: { host: 'alpha' }, query: {} })).examination,
    first,
  );
  await assert.rejects(
    client.call(API.examineHost, { ...look, params: { host: 'beta' } }),
    code('UNKNOWN_HOST'),
  );
});

test('devices: what the machine has of them, and who holds them', async (t) => {
  const { client, state } = await setup(t);
  const ownership = new SqliteOwnership(join(state, 'ownership.db'));
  t.after(() => ownership.close());
  await ownership.claimDevice({ host: 'alpha', device: 'nic0', vm: 'web1' });
  await ownership.claimDevice({ host: 'beta', device: 'nic1', vm: 'web2' });
  const { items } = await client.call(API.listDevices, all);
  assert.deepEqual(
    items.map(({ id, kind, present, claimedBy }) => [id, kind, present, claimedBy]),
    [
      ['nic0', 'emulated', true, 'web1'],
      ['nic1', 'pci', false, null],
    ],
  );
  const free = await client.call(API.listDevices, { params: {}, query: { free: 'true' } });
  assert.deepEqual(
    free.items.map(({ id }) => id),
    ['nic1'],
  );
  await assert.rejects(
    client.call(API.getDevice, { params: { device: 'nic9' }, query: {} }),
    code('UNKNOWN_DEVICE'),
  );
});

test('migrations: in pieces, the newest first, without gaps or doubles, filtered', async (t) => {
  const { client, journal } = await setup(t);
  for (let n = 0; n < 25; n++) open(journal, `m${String(n).padStart(2, '0')}`, n % 5 === 0 ? 'web2' : 'web1');
  journal.close('m03', 'completed', { totalMs: 5, blackoutMs: 1, memoryBytes: 9 });
  const ids: string[] = [];
  const pieces = (cursor: string | undefined) => ({ params: {}, query: { limit: 4, cursor } });
  for await (const { id } of client.items(API.listMigrations, pieces)) ids.push(id);
  assert.equal(new Set(ids).size, 25);
  assert.deepEqual(
    ids.toSorted(),
    journal
      .migrations()
      .map(({ id }) => id)
      .toSorted(),
  );
  const ended = await client.call(API.listMigrations, { params: {}, query: { state: 'ended' } });
  assert.deepEqual(
    ended.items.map(({ id, totalMs }) => [id, totalMs]),
    [['m03', 5]],
  );
  const web2 = await client.call(API.listMigrations, { params: {}, query: { vm: 'web2', limit: 2 } });
  assert.ok(web2.next);
  const other = { params: {}, query: { vm: 'web1', cursor: web2.next ?? '' } };
  await assert.rejects(
    client.call(API.listMigrations, other),
    code('INPUT_FIELD'),
    'a cursor of another list',
  );
});

test('one migration: its steps with their undo, its notes, and what happened', async (t) => {
  const { client, journal } = await setup(t);
  open(journal, 'm1', 'web1');
  const seq = journal.begin('m1', 'reserve', 'claim device', [
    { kind: 'release-device', host: 'b', device: 'nic0' },
  ]);
  journal.end('m1', seq, 'done', { x: 1 });
  journal.note('m1', 'decision', 'bridge: there is a standby');
  const of = { params: { id: 'm1' }, query: {} };
  const [steps, notes] = [await client.call(API.listSteps, of), await client.call(API.listNotes, of)];
  assert.deepEqual(
    steps.items.map(({ name, undo, detail }) => [name, undo, detail]),
    [['claim device', ['release-device'], '{"x":1}']],
  );
  assert.deepEqual(
    notes.items.map(({ kind }) => kind),
    ['decision'],
  );
  assert.match((await client.call(API.explainMigration, of)).summary, /web1.*open, in preflight/);
  const one = await client.call(API.getMigration, of);
  assert.deepEqual(
    [one.request, one.result, one.phase, one.committed],
    [{ vm: 'web1' }, null, 'preflight', false],
  );
  await assert.rejects(
    client.call(API.getMigration, { params: { id: 'm2' }, query: {} }),
    code('UNKNOWN_MIGRATION'),
  );
});

test('shadows: the newest of each NIC, the past, one version whole, and what differs', async (t) => {
  const { client, state } = await setup(t);
  const store = new ShadowStore(join(state, 'shadows.db'));
  t.after(() => store.dispose());
  const withMtu = (mtu: number) => shadow({ link: { ...shadow().link, mtu } });
  store.record('web1', 'net0', withMtu(1500), 'show', 1000);
  store.record('web1', 'net0', withMtu(9000), 'watch', 2000);
  store.record('web1', 'net1', withMtu(1500), 'show', 1000);
  store.record('web2', 'net0', withMtu(1500), 'show', 1000);
  const names: string[] = [];
  const pieces = (cursor: string | undefined) => ({ params: {}, query: { limit: 1, cursor } });
  for await (const { vm, nic, seq } of client.items(API.listShadows, pieces))
    names.push(`${vm} ${nic} ${seq}`);
  assert.deepEqual(names, ['web1 net0 2', 'web1 net1 1', 'web2 net0 1']);
  const nic = { vm: 'web1', nic: 'net0' };
  const past = await client.call(API.listShadowVersions, { params: nic, query: {} });
  assert.deepEqual(
    past.items.map(({ seq }) => seq),
    [2, 1],
  );
  const last = await client.call(API.getShadow, { params: { ...nic, version: 'last' }, query: {} });
  assert.deepEqual([last.seq, last.changes], [2, [{ key: 'link.mtu', before: '1500', after: '9000' }]]);
  assert.deepEqual(last.shadow, JSON.parse(JSON.stringify(withMtu(9000))));
  const diff = await client.call(API.diffShadows, { params: nic, query: { from: 1, to: 2 } });
  assert.deepEqual([diff.equal, diff.changes.length], [false, 1]);
  await assert.rejects(
    client.call(API.getShadow, { params: { ...nic, version: 7 }, query: {} }),
    code('UNKNOWN_VERSION'),
  );
});

test('what another process writes into the journal is told: begun, each phase, ended', async (t) => {
  const { state } = await setup(t);
  const path = join(state, 'journal.db');
  const [writer, reader] = [new Journal(path), new Journal(path)];
  t.after(() => [writer, reader].map((each) => each.dispose()));
  const told: string[] = [];
  open(writer, 'm0', 'web0');
  const tail = new JournalTail(
    reader,
    (type, { id, phase }) => told.push(`${type} ${id} ${phase}`),
    (error) => assert.fail(String(error)),
    { everyMs: 3_600_000 },
  );
  t.after(() => tail.stop());
  open(writer, 'm1', 'web1');
  tail.look();
  const next = transition(initialState(false), 'ok');
  writer.setState('m1', next.state, next.reason);
  tail.look();
  tail.look();
  writer.close('m0', 'rolled-back', {});
  for (let n = 0; n < 450; n++) open(writer, `n${n}`, 'web2');
  tail.look();
  assert.deepEqual(told.slice(0, 3), [
    'migration.begun m1 preflight',
    'migration.changed m1 reserve',
    ...told.slice(2, 3),
  ]);
  assert.equal(told.filter((line) => line.startsWith('migration.begun n')).length, 450);
  assert.equal(told.filter((line) => line === 'migration.ended m0 null').length, 1);
  assert.equal(new Set(told).size, told.length, 'each once');
});

test('a target is a socket or https, and nothing else', () => {
  assert.equal(parseTarget('--host', '/run/x.sock'), '/run/x.sock');
  assert.equal(parseTarget('--host', 'unix:///run/x.sock'), '/run/x.sock');
  assert.equal(parseTarget('--host', 'https://[2001:db8::1]:7443'), 'https://[2001:db8::1]:7443');
  for (const text of ['', 'http://x', 'https://user:pw@x', 'https://x/path', 'x:1', 'ftp://x', 'https://'])
    assert.throws(() => parseTarget('--host', text), code('INPUT_FIELD'), text);
});

test('nobody there, or somebody else, is said so', async (t) => {
  const { directory } = await testDaemon(t);
  const client = new DaemonClient({ address: join(directory, 'nothing') });
  await assert.rejects(client.call(API.health, all), code('DAEMON_UNREACHABLE'));
});
