/** A degraded VM gets its device by a later command, which knows the shadow from the journal alone. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { createStandingLab } from '../../src/lab/standing.ts';
import { labStatus } from '../../src/lab/status.ts';
import { disconnectVm } from '../../src/migration/vm.ts';
import { makeState, objects, runCli } from './cli-process.ts';
import { watchConnections } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

/** The guest loses its driver for the destination's device, as a guest may that was never prepared for it. */
const HIDE_DRIVER = `
module=$(modinfo -n vmxnet3)
mv "$module" /run/hidden-driver
printf '%s\\n' "$module" >/run/hidden-driver-path
rmmod vmxnet3 2>/dev/null || :
`;
const BRING_DRIVER_BACK = 'mv /run/hidden-driver "$(cat /run/hidden-driver-path)"; modprobe vmxnet3';
/** The program and what it started, by the pids that it notes beside its directory. */
const END_PROGRAM = 'while read -r pid rest; do kill -KILL "$pid"; done </run/shadowferry/net0.pids';
const PROGRAM_FILES = 'ls -d /run/shadowferry/net0 2>/dev/null || :';

const Shadow = z.object({
  captured: z.number(),
  restored: z.number(),
  adapted: z.array(z.unknown()),
  lost: z.array(z.unknown()),
});

const state = makeState();
let lab: Lab;

/** Runs a shell script in the guest, and lets go of it again, as only one may be connected. */
async function inGuest(script: string): Promise<string> {
  const signal = deadline('the guest agent', 20_000);
  const vm = await lab.find('web1', signal);
  try {
    await vm.agent.waitReady({ signal });
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    const { stdout } = await vm.agent.exec(['/bin/sh', '-s'], { input: script, env, check: true });
    return stdout;
  } finally {
    await disconnectVm(vm);
  }
}

/** Migrates with so little patience that the VM is left degraded. */
async function degrade(to: string, limits: { attachMs: number; attachTries: number }): Promise<void> {
  const file = join(state, 'plan.json');
  const dry = await runCli(state, ['migrate', 'web1', '--to', to, '--dry-run', '--plan-out', file]);
  assert.equal(dry.code, 0, dry.stderr);
  const plan = JSON.parse(readFileSync(file, 'utf8'));
  plan.request.limits = { ...plan.request.limits, ...limits };
  writeFileSync(file, JSON.stringify(plan));
  const { code, stdout } = await runCli(state, ['migrate', '--plan', file]);
  assert.equal(code, 8, stdout);
  assert.match(stdout, /\(DEGRADED\)\n.*shadowferry attach web1/);
}

async function degraded(): Promise<string | null | undefined> {
  return (await labStatus(lab)).vms[0]?.degraded;
}

describe('attach', needsNetworkRights(), () => {
  before(async () => {
    lab = await createStandingLab(state, {
      cacheDir: cacheDirectory(),
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: () => {},
    });
    await disconnectVm(await lab.boot({ setup: { extra: HIDE_DRIVER } }));
  });

  after(async () => {
    lab?.close();
    await runCli(state, ['lab', 'down']);
    rmSync(state, { recursive: true, force: true });
  });

  test('a VM that has its device is left alone', async () => {
    const { code, stdout } = await runCli(state, ['attach', 'web1']);
    assert.deepEqual([code, stdout], [0, 'Nothing is missing: "web1" has its direct device nic0.\n']);
  });

  test('while the cause is there it stays degraded, and is not migrated', async () => {
    await degrade('b', { attachMs: 2000, attachTries: 1 });
    assert.match((await degraded()) ?? '', /runs on b without its direct device/);
    const moved = await runCli(state, ['migrate', 'web1', '--to', 'a', '--json']);
    assert.deepEqual([moved.code, objects(moved)[0]?.code], [8, 'DEGRADED']);
    const again = await runCli(state, ['attach', 'web1', '--json', '--limit', '2000']);
    assert.deepEqual([again.code, objects(again).at(-1)?.code], [8, 'DEGRADED'], again.stderr);
    assert.match((await degraded()) ?? '', /runs on b without/);
  });

  test('with the cause gone it gets its device, its shadow is compared, and its connections live', async () => {
    await inGuest(BRING_DRIVER_BACK);
    const probes = await watchConnections(lab);
    try {
      const result = await runCli(state, ['attach', 'web1', '--json']);
      assert.equal(result.code, 0, result.stdout + result.stderr);
      const [attached] = objects(result);
      assert.equal(attached?.action, 'attached');
      assert.deepEqual(attached?.device, { nic: 'net0', id: 'nic0', model: 'vmxnet3', driver: 'vmxnet3' });
      const { captured, restored, adapted, lost } = Shadow.parse(attached?.shadow);
      assert.ok(captured > 100 && lost.length < 10, JSON.stringify(lost));
      assert.equal(restored + adapted.length + lost.length, captured);
      const { connections } = await probes.stop();
      assert.equal(connections.survived, connections.opened);
      assert.equal(connections.outOfOrder + connections.corrupt, 0);
    } finally {
      probes.kill();
    }
    assert.equal(await degraded(), null);
    assert.equal(await inGuest(PROGRAM_FILES), '');
    const twice = objects(await runCli(state, ['attach', 'web1', '--json']))[0];
    assert.equal(twice?.action, 'none');
  });

  test('a program that is lost is said to be', async () => {
    await degrade('a', { attachMs: 1, attachTries: 1 });
    await inGuest(END_PROGRAM);
    const { code, stderr } = await runCli(state, ['attach', 'web1', '--limit', '2000']);
    assert.equal(code, 4, stderr);
    assert.match(stderr, /\(PROGRAM_LOST\)/);
  });
});
