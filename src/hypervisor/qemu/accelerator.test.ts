import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findProgram } from '../../base/find-program.ts';
import { identify } from '../../base/process.ts';
import { type AcceleratorOptions, probeAccelerator, runsGuestCode } from './accelerator.ts';

const signal = () => AbortSignal.timeout(20_000);
const GOOD = 'exit 85';

/** A directory with a program `qemu` that acts as the shell text says and counts its runs in the file `runs`. */
function fakeQemu(t: TestContext, script: string) {
  const directory = mkdtempSync(join(tmpdir(), 'shadowferry-accel-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const binary = join(directory, 'qemu');
  const become = (text: string) => {
    writeFileSync(binary, `#!/bin/sh\necho "$*" >> ${directory}/runs\n${text}\n`);
    chmodSync(binary, 0o755);
  };
  become(script);
  writeFileSync(join(directory, 'kvm'), ''); // stands for the device, which nothing opens
  return {
    directory,
    binary,
    become,
    runs: () => readFileSync(join(directory, 'runs'), 'utf8').trim().split('\n'),
    ask: (options: Partial<AcceleratorOptions> = {}) =>
      probeAccelerator({
        signal: signal(),
        binary,
        cacheDir: join(directory, 'cache'),
        kvmDevice: join(directory, 'kvm'),
        modules: directory,
        env: {},
        ...options,
      }),
  };
}
const x64 = { skip: process.arch !== 'x64' && 'KVM is only for guests of the same architecture' };

test('the instructions run in a real QEMU and end it with the expected code', {
  skip: findProgram('qemu-system-x86_64') === undefined && 'there is no qemu-system-x86_64 here',
}, async () => {
  const result = await runsGuestCode('qemu-system-x86_64', 'tcg', { signal: signal(), timeoutMs: 15_000 });
  assert.deepEqual(result, { runs: true });
});

test('an accelerator that runs the instructions, but slowly, is not good enough', {
  skip: findProgram('qemu-system-x86_64') === undefined && 'there is no qemu-system-x86_64 here',
}, async () => {
  // The time in which a processor does the work is too short for TCG, as it is for a KVM that interprets.
  const result = await runsGuestCode('qemu-system-x86_64', 'tcg', { signal: signal(), timeoutMs: 60 });
  assert.deepEqual(result, { runs: false, why: 'it did not run a guest within 60 ms' });
});

test('KVM that runs the instructions is used', x64, async (t) => {
  const qemu = fakeQemu(t, GOOD);
  assert.deepEqual(await qemu.ask(), { kind: 'kvm', reason: 'KVM runs guests here' });
  assert.match(String(qemu.runs()[0]), /-accel kvm /);
});

test('any other end means TCG, with QEMU’s own words', x64, async (t) => {
  const qemu = fakeQemu(t, 'echo "Could not access KVM kernel module: Permission denied" >&2; exit 1');
  assert.deepEqual(await qemu.ask(), {
    kind: 'tcg',
    reason: 'KVM does not work here: Could not access KVM kernel module: Permission denied',
  });
  qemu.become('exit 0');
  assert.equal((await qemu.ask()).reason, 'KVM does not work here: QEMU ended with exit code 0');
  qemu.become('kill -SEGV $$');
  assert.equal((await qemu.ask()).reason, 'KVM does not work here: QEMU ended with SIGSEGV');
});

test('the answer is kept, and asked for again when QEMU changed or the caller wants', x64, async (t) => {
  const qemu = fakeQemu(t, GOOD);
  await qemu.ask();
  assert.equal((await qemu.ask()).kind, 'kvm');
  assert.equal(qemu.runs().length, 1);
  await qemu.ask({ fresh: true });
  assert.equal(qemu.runs().length, 2);
  qemu.become('echo "no more" >&2; exit 1');
  assert.equal((await qemu.ask()).kind, 'tcg');
  assert.equal((await qemu.ask()).kind, 'tcg');
  assert.equal(qemu.runs().length, 3);
  writeFileSync(join(qemu.directory, 'cache/accelerator.json'), '{"half');
  assert.equal((await qemu.ask()).kind, 'tcg');
  assert.equal(qemu.runs().length, 4);
});

test('a KVM that hangs costs the time limit, once, and the process is killed', x64, async (t) => {
  const qemu = fakeQemu(t, "trap '' TERM INT; echo $$ > $(dirname $0)/pid; read never < $(dirname $0)/fifo");
  await once(spawn('mkfifo', [join(qemu.directory, 'fifo')]), 'exit');
  const started = performance.now();
  const answer = await qemu.ask({ timeoutMs: 400 });
  const took = performance.now() - started;
  assert.deepEqual(answer, {
    kind: 'tcg',
    reason: 'KVM does not work here: it did not run a guest within 400 ms',
  });
  assert.ok(took >= 390 && took < 1400, `${took} ms`);
  await qemu.ask({ timeoutMs: 400 });
  assert.equal(qemu.runs().length, 1);
  const pid = Number(readFileSync(join(qemu.directory, 'pid'), 'utf8'));
  const gone = AbortSignal.timeout(5000);
  while (identify(pid)) {
    gone.throwIfAborted();
    await new Promise(setImmediate);
  }
});

test('what the hanging process leaves behind does not keep this process alive', x64, async (t) => {
  // Like a process stuck in the kernel, the grandchild outlives the kill and keeps the log open.
  const qemu = fakeQemu(t, 'sleep 60 & echo $! > $(dirname $0)/pid; wait');
  const code = `
    const { runsGuestCode } = await import(${JSON.stringify(import.meta.resolve('./accelerator.ts'))});
    const signal = AbortSignal.timeout(30_000);
    console.log((await runsGuestCode(process.argv[1], 'kvm', { signal, timeoutMs: 300 })).runs);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, qemu.binary]);
  let said = '';
  child.stdout.on('data', (text) => {
    said += text;
  });
  try {
    const [status] = await once(child, 'exit', { signal: signal() });
    assert.equal(status, 0);
    assert.equal(said, 'false\n');
  } finally {
    process.kill(Number(readFileSync(join(qemu.directory, 'pid'), 'utf8')), 'SIGKILL');
  }
});

test('the caller can give up earlier', x64, async (t) => {
  const qemu = fakeQemu(t, 'exec sleep 60');
  const soon = AbortSignal.timeout(100);
  await assert.rejects(qemu.ask({ signal: soon, timeoutMs: 20_000 }), { name: 'TimeoutError' });
});

test('KVM is left untouched where it cannot work or is not wanted', x64, async (t) => {
  const qemu = fakeQemu(t, GOOD);
  const missing = await qemu.ask({ kvmDevice: '/nowhere/kvm' });
  assert.deepEqual(missing, { kind: 'tcg', reason: 'there is no /nowhere/kvm' });
  const unwanted = await qemu.ask({ env: { SHADOWFERRY_ACCELERATOR: 'tcg' } });
  assert.deepEqual(unwanted, { kind: 'tcg', reason: 'SHADOWFERRY_ACCELERATOR is "tcg"' });
  mkdirSync(join(qemu.directory, 'kvm_pvm'));
  const reason = "this machine's KVM (kvm_pvm) runs only guests that were made for it";
  assert.deepEqual(await qemu.ask(), { kind: 'tcg', reason });
  mkdirSync(join(qemu.directory, 'kvm_amd')); // a machine with both has hardware virtualisation
  assert.deepEqual(await qemu.ask({ binary: 'no-such-qemu' }), {
    kind: 'tcg',
    reason: 'there is no no-such-qemu to try KVM with',
  });
  assert.throws(qemu.runs, { code: 'ENOENT' });
});
