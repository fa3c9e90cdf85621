import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { unfitPlace } from './disk-places.ts';

function setUp(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sf-places-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const kept = join(directory, 'disks');
  mkdirSync(kept);
  const host = { name: 'beta', diskDirectories: [kept] };
  const ask = (path: string, at: 'file' | 'device' = 'file', madePath = path) => {
    const disk = { id: 'root', path, format: 'raw', storage: 'moves', at };
    const boot = { kernel: '/k' };
    const spec = VmSpec.parse({ name: 'web1', memoryMiB: 64, boot, nics: [], disks: [disk] });
    const made = { id: 'root', path: madePath, format: 'raw', at, replaces: false, virtualBytes: 1 } as const;
    return unfitPlace(host, { spec, disks: [made] });
  };
  return { directory, kept, ask };
}

test('a source puts disks only where this host keeps them, whatever it says', async (t) => {
  const { directory, kept, ask } = setUp(t);
  assert.equal(await ask(join(kept, 'x')), undefined);
  assert.equal((await ask(join(directory, 'x')))?.code, 'DISK_TARGET_REFUSED');
  assert.equal((await ask('/etc/shadow'))?.code, 'DISK_TARGET_REFUSED');
});

test('what the place was taken for is what it must be', async (t) => {
  const { kept, ask } = setUp(t);
  assert.match((await ask(join(kept, 'x'), 'device'))?.message ?? '', /not what it was/);
  writeFileSync(join(kept, 'y'), '');
  assert.equal(await ask(join(kept, 'y')), undefined, 'whose file it is, is looked at when it is replaced');
});

test('no disk is run that was not sent', async (t) => {
  const { kept, ask } = setUp(t);
  assert.match((await ask(join(kept, 'x'), 'file', join(kept, 'y')))?.message ?? '', /no image/);
});
