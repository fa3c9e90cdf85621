import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { fakeHost } from '../../host/fake-host.test-data.ts';
import type { Host } from '../../host/host.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import { reconcile } from './reconcile.ts';

test('what a crash left is told first, then removed; what is not ours stays', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-left-'));
  const ownership = new SqliteOwnership(join(directory, 'ownership.db'));
  t.after(() => {
    ownership.close();
    rmSync(directory, { recursive: true });
  });
  const [sysfs, vms] = [join(directory, 'net'), join(directory, 'vms')];
  for (const name of ['eth0', 'sfd0123abcd', 'sfs0123abcd'])
    mkdirSync(join(sysfs, name), { recursive: true });
  for (const name of ['old', 'rests', 'comes']) mkdirSync(join(vms, name), { recursive: true });
  await ownership.register('old', 'alpha');
  await ownership.claimDevice({ host: 'beta', device: 'nic0', vm: 'old', migration: 'm1' });
  await ownership.claimDevice({ host: 'beta', device: 'nic1', vm: 'comes', migration: 'm2' });
  await ownership.claimDevice({ host: 'beta', device: 'nic2', vm: 'rests' });
  const removed: string[] = [];
  const host: Host = {
    ...fakeHost(vms),
    removeTap: async (tap) => {
      if (tap.startsWith('sfs')) throw new Error('not allowed');
      removed.push(tap);
    },
  };
  const published: { type: string; name: unknown }[] = [];
  let comes = true;
  const counts: string[] = [];
  const options = {
    ...{ host, directory: vms, ownership, sysfs, log: pino({ level: 'silent' }) },
    accounts: () => ({
      vms: [],
      migrating: new Set(comes ? ['comes'] : []),
      resting: new Set(['rests']),
      open: new Set(comes ? ['m2'] : []),
    }),
    counted: (what: string, fate: string) => counts.push(`${what} ${fate}`),
    publish: (type: string, data: Record<string, unknown>) => published.push({ type, name: data.name }),
  };
  const first = await reconcile(options);
  assert.equal(first.judged, true);
  // which taps are those of the VM that comes cannot be told from here
  assert.deepEqual(first.found.map(({ what, name }) => `${what} ${name}`).toSorted(), [
    'claim nic0',
    'directory old',
  ]);
  assert.deepEqual(
    ['old', 'rests', 'comes'].map((name) => existsSync(join(vms, name))),
    [false, true, true],
  );
  comes = false;
  await reconcile(options);
  assert.deepEqual(removed, ['sfd0123abcd']);
  assert.ok(counts.includes('tap removed') && counts.includes('tap stays'), counts.join(', '));
  assert.ok(published.some(({ type, name }) => type === 'host.leftover-stays' && name === 'sfs0123abcd'));
  assert.deepEqual(
    (await ownership.claims('beta')).map(({ device }) => device),
    ['nic2'],
  );
});

test('while the store is silent nothing that it knows of is judged', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-left-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const silent = async () => {
    throw new Error('no answer');
  };
  const host = fakeHost(directory);
  const { judged, found } = await reconcile({
    ...{ host, directory, sysfs: join(directory, 'none'), log: pino({ level: 'silent' }), publish: () => {} },
    ownership: { list: silent, claims: silent, releaseDevice: silent },
    accounts: () => ({ vms: [], migrating: new Set(), resting: new Set(), open: new Set() }),
  });
  assert.deepEqual([judged, found], [false, []]);
});
