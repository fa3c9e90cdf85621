import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { holderOf, lockVm, lockVmSoon } from './vm-lock.ts';

test('a VM is driven by one command at a time, and the lock of a dead one does not count', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-lock-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const busy = (error: unknown) => error instanceof ShadowferryError && error.code === 'MIGRATION_BUSY';
  {
    using _lock = lockVm(directory, 'web1');
    assert.equal(holderOf(directory, 'web1')?.pid, process.pid);
    assert.throws(() => lockVm(directory, 'web1'), busy);
    using _other = lockVm(directory, 'web2');
  }
  assert.deepEqual(readdirSync(directory), []);
  for (const left of [JSON.stringify({ pid: process.pid, startTicks: '1' }), 'not JSON']) {
    writeFileSync(join(directory, 'web1.lock'), left);
    assert.equal(holderOf(directory, 'web1'), undefined);
    using _lock = lockVm(directory, 'web1');
    assert.equal(holderOf(directory, 'web1')?.pid, process.pid);
  }
});

test('who wants the VM waits for those who only look, and not for those who drive it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-lock-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const busy = (error: unknown) => error instanceof ShadowferryError && error.code === 'MIGRATION_BUSY';
  const look = lockVm(directory, 'web1', 'look');
  let have = false;
  const driving = lockVmSoon(directory, 'web1', 'drive').then((lock) => {
    have = true;
    return lock;
  });
  await assert.rejects(lockVmSoon(directory, 'web1', 'look', AbortSignal.timeout(120)));
  assert.equal(have, false);
  look[Symbol.dispose]();
  using _drive = await driving;
  assert.equal(holderOf(directory, 'web1')?.purpose, 'drive');
  await assert.rejects(lockVmSoon(directory, 'web1', 'look'), busy);
});
