import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { exec } from '../../src/base/exec.ts';
import { needsNetworkRights } from './rights.ts';

const PROGRAM = fileURLToPath(new URL('./user-namespace-program.ts', import.meta.url));

const output = z.object({
  pid: z.number(),
  arguments: z.array(z.string()),
  action: z.string(),
  ping: z.number(),
  tap: z.union([z.string(), z.object({ code: z.string(), message: z.string(), fix: z.string() })]),
  during: z.array(z.string()),
  after: z.array(z.string()),
});

/** Runs the program as user nobody; resolves when it has ended. */
async function asNobody(
  ...args: string[]
): Promise<{ pid: number; code: number; stdout: string; stderr: string }> {
  const child = spawn(
    'setpriv',
    ['--reuid=65534', '--regid=65534', '--clear-groups', '--', process.execPath, PROGRAM, ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number>((resolve) => child.once('close', (value) => resolve(value ?? -1)));
  return { pid: child.pid ?? -1, code, stdout, stderr };
}

/** Whether this machine lets an unprivileged user do it at all; the reason why not otherwise. */
async function obstacle(): Promise<string | false> {
  const { skip } = needsNetworkRights();
  if (skip !== false) return skip;
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'] as const;
  const reads = await exec([...nobody, 'test', '-r', PROGRAM], { allowFailure: true });
  if (reads.code !== 0) return 'user nobody cannot read this checkout';
  const enters = await exec([...nobody, 'unshare', '--user', '--net', 'true'], { allowFailure: true });
  return enters.code === 0 ? false : 'this kernel gives user nobody no user namespace';
}

const skip = await obstacle();

test('an unprivileged user builds a lab network, in the same process and unseen by others', {
  skip,
}, async () => {
  const before = readdirSync('/run').sort();
  const run = await asNobody('one', 'two words');
  assert.equal(run.code, 0, run.stderr);
  const told = output.parse(JSON.parse(run.stdout));
  assert.equal(told.pid, run.pid, 'it stays the process that was started');
  assert.deepEqual(told.arguments, ['one', 'two words']);
  assert.equal(told.action, 'stay', 'within the namespace it may stay');
  assert.equal(told.ping, 0);
  assert.deepEqual(told.during.sort(), ['sf-user-a', 'sf-user-b', 'sf-user-out']);
  assert.deepEqual(told.after, []);
  if (typeof told.tap !== 'string') {
    assert.equal(told.tap.code, 'RIGHTS_MISSING');
    assert.match(told.tap.message, /\/dev\/net\/tun/);
    assert.match(told.tap.fix, /chmod 0666 \/dev\/net\/tun|modprobe tun/);
  }
  assert.deepEqual(readdirSync('/run').sort(), before);
});
