import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { SqliteOwnership } from './sqlite.ts';

function open(t: { after(f: () => void): void }): { path: string; store: SqliteOwnership } {
  const directory = mkdtempSync(join(tmpdir(), 'sf-ownership-'));
  const path = join(directory, 'db');
  const store = new SqliteOwnership(path);
  t.after(() => {
    store.close();
    rmSync(directory, { recursive: true });
  });
  return { path, store };
}

const refusedWith = (code: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === code;

test('a hand-over happens once: the second one from the same record is refused', async (t) => {
  const { path, store } = open(t);
  const first = await store.register('web1', 'a');
  const other = new SqliteOwnership(path);
  t.after(() => other.close());
  assert.deepEqual(await store.handOver(first, 'b'), { vm: 'web1', owner: 'b', epoch: 2 });
  await assert.rejects(other.handOver(first, 'c'), refusedWith('NOT_OWNER'));
  assert.deepEqual(await other.read('web1'), { vm: 'web1', owner: 'b', epoch: 2 });
});

test('the source may not take the VM back by registering it again', async (t) => {
  const { store } = open(t);
  await store.handOver(await store.register('web1', 'a'), 'b');
  await assert.rejects(store.register('web1', 'a'), refusedWith('NOT_OWNER'));
});

test('a device is held by one VM; claiming it again for the same VM changes nothing', async (t) => {
  const { store } = open(t);
  const claim = { host: 'b', device: 'nic0', vm: 'web1' };
  await store.claimDevice(claim);
  await store.claimDevice(claim);
  await assert.rejects(store.claimDevice({ ...claim, vm: 'web2' }), refusedWith('DEVICE_CLAIMED_TWICE'));
  await store.releaseDevice({ ...claim, vm: 'web2' });
  assert.equal((await store.claims('b')).length, 1);
  await store.releaseDevice(claim);
  await store.claimDevice({ ...claim, vm: 'web2' });
});
