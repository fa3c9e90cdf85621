import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { ownershipContract, refusedWith } from './contract.test-data.ts';
import { comparesWithModel } from './model.test-data.ts';
import { openOwnership } from './open.ts';
import { SqliteOwnership } from './sqlite.ts';

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'sf-ownership-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

ownershipContract('sqlite', async (t, count) => {
  const path = join(directory(t), 'db');
  const stores = Array.from({ length: count }, () => openOwnership({ kind: 'sqlite', path }));
  t.after(() => {
    for (const store of stores) store.close();
  });
  return stores;
});

test('sqlite: random calls agree with the model', async () => {
  await comparesWithModel(async () => new SqliteOwnership(':memory:'), 100);
});

test('sqlite: a file of the first schema is read, and changed', async (t) => {
  const path = join(directory(t), 'db');
  const old = new DatabaseSync(path);
  old.exec(`
    CREATE TABLE ownership (vm TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL) STRICT;
    CREATE TABLE claim (host TEXT NOT NULL, device TEXT NOT NULL, vm TEXT NOT NULL, PRIMARY KEY (host, device)) STRICT;
    INSERT INTO ownership VALUES ('web1', 'a', 7);
    INSERT INTO claim VALUES ('a', 'nic0', 'web1');
    PRAGMA user_version = 1`);
  old.close();
  const store = new SqliteOwnership(path);
  t.after(() => store.close());
  const now = await store.read('web1');
  assert.deepEqual(now, { vm: 'web1', owner: 'a', epoch: 7 });
  assert.deepEqual(await store.claims(), [{ host: 'a', device: 'nic0', vm: 'web1', atMs: 0 }]);
  assert.equal((await store.handOver(now, 'b', { attempt: 'm1' })).epoch, 8);
  assert.equal((await store.resolveHandOver({ attempt: 'm1', expected: now, to: 'b' })).action, 'committed');
});

test('sqlite: what the file cannot do is an unreachable store, and a foreign row is damage', async (t) => {
  const path = join(directory(t), 'db');
  const store = new SqliteOwnership(path);
  t.after(() => store.close());
  await store.register('web1', 'a');
  const other = new DatabaseSync(path);
  other.exec(`UPDATE ownership SET changes = 'no list'`);
  await assert.rejects(store.read('web1'), refusedWith('STORE_DAMAGED'));
  other.exec('DROP TABLE ownership');
  other.close();
  await assert.rejects(store.read('web1'), refusedWith('STORE_UNREACHABLE', /no such table/));
});
