import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { identify, isAlive, signalProcess, spawnDetached } from './process.ts';

function logFile(t: { after(clean: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'sf-process-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'log');
}

test('a process is known by pid and start time, and a reused pid is not mistaken for it', async (t) => {
  const log = logFile(t);
  const child = spawnDetached(['sh', '-c', 'echo started; exec sleep 60'], log);
  const identity = identify(child.pid);
  assert.ok(identity && isAlive(identity));
  assert.equal(isAlive({ ...identity, startTicks: '1' }), false);
  assert.equal(signalProcess({ ...identity, startTicks: '1' }, 'SIGKILL'), false);
  assert.equal(signalProcess(identity, 'SIGKILL'), true);
  assert.equal(await child.exited, 'signal SIGKILL');
  assert.equal(isAlive(identity), false);
});

test('a program that is not there is reported, not thrown', async (t) => {
  const log = logFile(t);
  const child = spawnDetached(['/nonexistent/program'], log);
  assert.match(await child.exited, /ENOENT/);
  assert.equal(readFileSync(log, 'utf8'), '');
});
