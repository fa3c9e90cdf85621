import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { neighbour, shadow } from '../net/plan.test-data.ts';
import { ShadowStore } from './store.ts';

const directory = mkdtempSync(join(tmpdir(), 'sf-store-'));
let count = 0;
let file = '';
let store: ShadowStore;

beforeEach(() => {
  store?.dispose();
  count += 1;
  file = join(directory, `${count}.db`);
  store = new ShadowStore(file);
});

after(() => {
  store.dispose();
  rmSync(directory, { recursive: true, force: true });
});

const withMtu = (mtu: number) => shadow({ link: { ...shadow().link, mtu } });
const contents = () => {
  using db = new DatabaseSync(file);
  return db.prepare('SELECT count(*) AS n FROM content').get()?.n;
};

test('what was never seen is not there', () => {
  assert.equal(store.last('web1', 'net0'), undefined);
  assert.deepEqual([store.nics('web1'), store.versions('web1', 'net0')], [[], []]);
});

test('a version has its shadow, its changes, when and by whom it was seen', () => {
  store.record('web1', 'net0', withMtu(1500), 'show', 1000);
  const { version, isNew, changes } = store.record('web1', 'net0', withMtu(9000), 'watch', 2000);
  assert.equal(isNew, true);
  assert.deepEqual(changes, [{ key: 'link.mtu', before: '1500', after: '9000' }]);
  assert.deepEqual(store.changes(version), changes);
  const { seq, label, by, atMs, lastSeenMs, seen, changed } = version;
  assert.deepEqual(
    { seq, label, by, atMs, lastSeenMs, seen, changed },
    { seq: 2, label: '1.0.0.1', by: 'watch', atMs: 2000, lastSeenMs: 2000, seen: 1, changed: 1 },
  );
  assert.deepEqual(store.last('web1', 'net0'), version);
  assert.deepEqual(store.shadow(version), withMtu(9000));
  assert.equal(store.shadow({ vm: 'web1', nic: 'net0', seq: 1 })?.link.mtu, 1500);
});

test('what shows nothing new makes no version, but is kept as the newest look', () => {
  store.record('web1', 'net0', shadow({ neighbours: [] }), 'watch', 1000);
  const again = shadow({ neighbours: [neighbour('10.0.0.9', 'reachable')] });
  const { version, isNew } = store.record('web1', 'net0', again, 'show', 5000);
  assert.equal(isNew, false);
  assert.deepEqual([version.seq, version.atMs, version.lastSeenMs, version.seen], [1, 1000, 5000, 2]);
  assert.equal(version.by, 'watch');
  assert.equal(store.shadow(version)?.neighbours.length, 1);
  assert.equal(contents(), 1);
});

test('NICs and VMs are apart', () => {
  store.record('web1', 'net0', shadow(), 'watch');
  store.record('web1', 'net1', shadow(), 'watch');
  store.record('web2', 'net0', withMtu(900), 'watch');
  assert.deepEqual(store.nics('web1'), ['net0', 'net1']);
  assert.equal(store.last('web2', 'net0')?.seq, 1);
  assert.equal(contents(), 2); // the same content is kept once
  store.forget('web1');
  assert.deepEqual([store.nics('web1'), store.nics('web2'), contents()], [[], ['net0'], 1]);
});

test('the past is bounded by the number of versions, and numbers go on', () => {
  const few = new ShadowStore(file, { versions: 3, bytes: 1e9 });
  for (let mtu = 1000; mtu < 1010; mtu += 1) few.record('web1', 'net0', withMtu(mtu), 'watch');
  assert.deepEqual(
    few.versions('web1', 'net0').map(({ seq }) => seq),
    [8, 9, 10],
  );
  assert.equal(few.version('web1', 'net0', 7), undefined);
  assert.equal(few.changes({ vm: 'web1', nic: 'net0', seq: 7 }).length, 0);
  assert.equal(few.changes({ vm: 'web1', nic: 'net0', seq: 8 }).length, 1);
  assert.equal(contents(), 3);
  few.dispose();
});

test('the past is bounded by bytes, but the newest version is always kept', () => {
  const small = new ShadowStore(file, { versions: 100, bytes: 1 });
  for (let mtu = 1000; mtu < 1003; mtu += 1) small.record('web1', 'net0', withMtu(mtu), 'watch');
  assert.deepEqual(
    small.versions('web1', 'net0').map(({ seq }) => seq),
    [3],
  );
  small.dispose();
});

test('a shadow in a form that is not read any more stays in the history and is followed by a new version', () => {
  store.record('web1', 'net0', shadow(), 'watch');
  {
    using db = new DatabaseSync(file);
    db.exec(`UPDATE version SET identity = 'of another form'`);
    db.prepare('UPDATE content SET data = ?').run(new Uint8Array([0xab, 0xae, 0x05, 0x00])); // {}
  }
  assert.equal(store.shadow({ vm: 'web1', nic: 'net0', seq: 1 }), undefined);
  const { version, changes } = store.record('web1', 'net0', shadow(), 'watch');
  assert.deepEqual([version.seq, changes], [2, []]);
  assert.equal(store.versions('web1', 'net0').length, 2);
});

test('ten thousand routes are kept, compared and compressed', () => {
  const routes = Array.from({ length: 10_000 }, (_, n) => ({
    ...shadow().routes[0],
    family: 'inet' as const,
    table: 'main',
    type: 'unicast',
    destination: `10.${n >> 8}.${n & 255}.0/24`,
    args: ['via', '10.0.0.254', 'dev', 'eth0'],
    automatic: false,
    multipath: false,
  }));
  store.record('web1', 'net0', shadow({ routes }), 'watch');
  const { changes, version } = store.record('web1', 'net0', shadow({ routes: routes.slice(1) }), 'watch');
  assert.equal(changes.length, 1);
  assert.equal(store.shadow(version)?.routes.length, 9999);
});

/** Records versions without end, telling each when it is on disk; two of these write at once. */
const WRITER = `
import { ShadowStore } from ${JSON.stringify(new URL('./store.ts', import.meta.url).href)};
import { shadow } from ${JSON.stringify(new URL('../net/plan.test-data.ts', import.meta.url).href)};
const store = new ShadowStore(process.argv[1]);
for (let mtu = 1; ; mtu = (mtu % 60000) + 2) {
  const link = { ...shadow().link, mtu: mtu + Number(process.argv[2]) };
  const { version } = store.record('web1', 'net0', shadow({ link }), 'watch');
  process.stdout.write(version.seq + '\\n');
}
`;

test('processes that write at once and are killed leave every version whole that they told of', async () => {
  const writers = ['0', '1'].map((odd) => {
    const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', WRITER, file, odd];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let told = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().split('\n')) told = Math.max(told, Number(line));
    });
    return { child, ended: once(child, 'close'), told: () => told };
  });
  const alive = () => writers.every(({ child }) => child.exitCode === null);
  const limit = performance.now() + 60_000;
  while (alive() && writers.some(({ told }) => told() < 20) && performance.now() < limit) await delay(5);
  assert.ok(alive(), 'a writer gave up');
  for (const { child } of writers) child.kill('SIGKILL');
  await Promise.all(writers.map(({ ended }) => ended));
  const told = Math.max(...writers.map((writer) => writer.told()));
  assert.ok(told >= 20, String(told));
  const again = new ShadowStore(file);
  const versions = again.versions('web1', 'net0');
  assert.ok((versions.at(-1)?.seq ?? 0) >= told);
  for (const version of versions) {
    assert.ok(again.shadow(version), `version ${version.seq}`);
    assert.equal(again.changes(version).length, version.changed);
  }
  again.dispose();
  using db = new DatabaseSync(file);
  assert.equal(db.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok');
  assert.deepEqual(db.prepare('PRAGMA foreign_key_check').all(), []);
});
