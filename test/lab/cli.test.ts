/** The commands around a lab that stays, as a user types them: up, plan, hold, cancel, migrate, back by plan, down. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { labAccess } from '../../src/lab/access.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';
import { openStandingLab } from '../../src/lab/standing.ts';
import type { LabStatus } from '../../src/lab/status.ts';
import { makeState, objects, runCli, startCli } from './cli-process.ts';
import { needsNetworkRights } from './rights.ts';

const scratch = makeState();
/** Not there yet: the command makes it. */
const state = join(scratch, 'state');
const planFile = join(state, 'plan.json');
const reportFile = join(state, 'new', 'report.html');
let first: LabStatus;

async function labStatus(): Promise<LabStatus> {
  const result = await runCli(state, ['lab', 'status', '--json']);
  assert.equal(result.code, 0, result.stderr + result.stdout);
  return JSON.parse(result.stdout);
}

/** Owner, epoch and devices: what a migration changes. */
function placed({ vms, hosts }: LabStatus) {
  const [vm] = vms;
  const claims = hosts.flatMap(({ name, devices }) =>
    devices.filter(({ claimedBy }) => claimedBy !== null).map(({ id }) => `${name}/${id}`),
  );
  const direct = vm?.nics[0]?.direct;
  return {
    owner: vm?.owner,
    epoch: vm?.epoch,
    state: vm?.state,
    model: direct?.model,
    plugged: direct?.plugged,
    claims,
  };
}

const ON_A = { owner: 'a', state: 'running', model: 'e1000e', plugged: true, claims: ['a/nic0'] };
const ON_B = { owner: 'b', state: 'running', model: 'vmxnet3', plugged: true, claims: ['b/nic0'] };

/** Opens a connection to the guest's echo service; a NIC whose link has just come up may still be silent. */
const CONNECT = `
const net = require('node:net');
const connect = () =>
  net.connect(7, process.argv[1], () => process.exit(0)).on('error', () => setTimeout(connect, 100));
connect();
`;

/** Takes the direct device, below its shadow interface, from its driver. */
const UNBIND = `
device=$(readlink -f /sys/class/net/lan0-d/device)
case \${device##*/} in virtio*) device=\${device%/*} ;; esac
echo "\${device##*/}" >"$device/driver/unbind"
`;

/** Runs a shell script in the guest, as one who only looks. */
async function inGuest(script: string): Promise<void> {
  const signal = deadline('the guest agent', 60_000);
  const lab = await openStandingLab(state);
  try {
    await labAccess(lab, 'web1').look(signal, async ({ agent }) => {
      await agent.waitReady({ signal });
      const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
      await agent.exec(['/bin/sh', '-s'], { input: script, env, check: true });
    });
  } finally {
    lab.close();
  }
}

describe('a lab that stays', needsNetworkRights(), () => {
  before(async () => {
    const devices = ['--devices-a', 'e1000e,virtio-net-pci,queues=2'];
    const { code, stdout, stderr } = await runCli(state, ['lab', 'up', ...devices, '--json']);
    assert.equal(code, 0, stderr + stdout);
    first = JSON.parse(stdout);
  });

  after(async () => {
    await runCli(state, ['lab', 'down']);
    rmSync(scratch, { recursive: true, force: true });
  });

  test('"lab up" ends, and the VM runs on; only the user can read where', async () => {
    assert.deepEqual(placed(await labStatus()), { ...ON_A, epoch: 1 });
    assert.equal(statSync(join(state, 'lab')).mode & 0o777, 0o600);
    assert.equal(statSync(state).mode & 0o777, 0o700);
    const { processes } = listLeftovers(first.id);
    assert.deepEqual(
      processes.map(({ pid }) => pid),
      [first.vms[0]?.pid],
    );
  });

  test('the guest is reached as the status says', async () => {
    const { guest } = await labStatus();
    const [program = '', ...args] = [...guest.from, process.execPath, '-e', CONNECT, guest.address];
    assert.equal(spawnSync(program, args, { timeout: 15_000 }).status, 0);
  });

  test('Ctrl-C while it is held takes the VM back, with its device', async () => {
    const migrating = startCli(state, ['migrate', 'web1', '--to', 'b', '--hold', '--json']);
    await migrating.line((line) => line.includes('"type":"hold"'));
    assert.equal((await labStatus()).vms[0]?.state, 'migrating');
    const busy = await runCli(state, ['migrate', 'web1', '--to', 'b']);
    assert.deepEqual([busy.code, /MIGRATION_BUSY/.test(busy.stderr)], [3, true]);
    migrating.kill('SIGINT');
    const ended = await migrating.ended;
    const result = objects(ended).at(-1);
    assert.deepEqual([ended.code, result?.type, result?.ending], [7, 'result', 'rolled-back'], ended.stdout);
    assert.deepEqual(placed(await labStatus()), { ...ON_A, epoch: 1 });
    assert.equal(listLeftovers(first.id).processes.length, 1);
  });

  test('the end of standard input is no consent', async () => {
    const migrating = startCli(state, ['migrate', 'web1', '--to', 'b', '--hold']);
    migrating.close();
    const { code, stdout } = await migrating.ended;
    assert.equal(code, 7, stdout);
    assert.deepEqual(placed(await labStatus()), { ...ON_A, epoch: 1 });
  });

  test('a line hands it over; the probes, the report and the result tell how it went', async () => {
    const args = ['migrate', 'web1', '--to', 'b', '--hold', '--probe', '--report', reportFile, '--json'];
    const migrating = startCli(state, args);
    await migrating.line((line) => line.includes('"type":"hold"'));
    migrating.write('yes\n');
    const ended = await migrating.ended;
    assert.equal(ended.code, 0, ended.stderr + ended.stdout);
    const result = objects(ended).at(-1);
    assert.deepEqual([result?.ok, result?.ending], [true, 'completed']);
    assert.deepEqual(result?.connections, { opened: 5, survived: 5, outOfOrder: 0, corrupt: 0 });
    assert.match(readFileSync(reportFile, 'utf8'), /<html/);
    assert.deepEqual(placed(await labStatus()), { ...ON_B, epoch: 2 });
  });

  test('a dry run prints a plan and changes nothing but the file', async () => {
    const args = ['migrate', 'web1', '--to', 'a', '--continuity', 'hold', '--dry-run'];
    const before = await labStatus();
    const plain = await runCli(state, [...args, '--plan-out', planFile]);
    assert.equal(plain.code, 0, plain.stderr);
    assert.match(plain.stdout, /Device +net0: nic0, vmxnet3 → nic0, e1000e/);
    assert.match(plain.stdout, /Continuity +hold \(asked for\)/);
    assert.match(plain.stdout, /Estimate .*last time .*blackout/);
    assert.equal(JSON.parse(readFileSync(planFile, 'utf8')).nics[0].replay.continuity, 'hold');
    const [line] = objects(await runCli(state, [...args, '--json'])).slice(-1);
    assert.equal(line?.ending, 'planned');
    assert.deepEqual(Object.keys(line?.plan ?? {}), ['matches', 'continuity', 'strategy', 'estimates']);
    assert.deepEqual(await labStatus(), before);
  });

  test('back by the plan of the dry run', async () => {
    const { code, stdout, stderr } = await runCli(state, ['migrate', '--plan', planFile]);
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /web1, b → a: completed/);
    assert.match(stdout, /Continuity +hold,/);
    assert.deepEqual(placed(await labStatus()), { ...ON_A, epoch: 3 });
  });

  test('the journal lists them all', async () => {
    const [line] = objects(await runCli(state, ['migrations', 'web1', '--json']));
    const list = line?.migrations;
    assert.ok(Array.isArray(list));
    const endings = ['rolled-back', 'rolled-back', 'completed', 'planned', 'planned', 'completed'];
    assert.deepEqual(
      list.map(({ ending }) => ending),
      endings,
    );
    const { stdout } = await runCli(state, ['migrations']);
    assert.equal(stdout.trim().split('\n').length, endings.length);
  });

  test('the devices are listed with what is known of them; one that is held is not asked', async () => {
    const [line] = objects(await runCli(state, ['devices', 'list', '--json']));
    assert.ok(Array.isArray(line?.devices));
    assert.deepEqual(
      line.devices.map(({ host, id, model, claimedBy }) => [host, id, model, claimedBy]),
      [
        ['a', 'nic0', 'e1000e', 'web1'],
        ['a', 'nic1', 'virtio-net-pci,queues=2', null],
        ['b', 'nic0', 'vmxnet3', null],
      ],
    );
    const cases: [string[], number, RegExp][] = [
      [['devices', 'learn', 'a', 'nic0'], 3, /held by VM "web1" \(DEVICE_IN_USE\)/],
      [['devices', 'learn', 'a', 'nic9'], 2, /UNKNOWN_DEVICE\)\n {2}Use one of: nic0, nic1/],
      [['devices', 'learn', 'c', 'nic0'], 2, /UNKNOWN_HOST\)\n {2}Use one of: a, b/],
      [['devices', 'learn', 'a'], 2, /missing required argument 'device' \(INPUT_FIELD\)/],
      [['swap', 'web1'], 2, /required option '--with <device>' not specified \(INPUT_FIELD\)/],
      [['swap', 'web1', '--with', 'nic9'], 2, /UNKNOWN_DEVICE\)\n {2}Use one of: nic0, nic1/],
      [['swap', 'web1', 'net9', '--with', 'nic1'], 2, /UNKNOWN_DEVICE\)\n {2}Use one of: net0/],
      [['swap', 'web9', '--with', 'nic1'], 2, /UNKNOWN_VM\)\n {2}Use one of: web1/],
      [['rescue', 'web1', '--with', 'nic1'], 3, /RESCUE_NEEDLESS/],
    ];
    for (const [args, code, says] of cases) {
      const { stdout, stderr, ...result } = await runCli(state, args);
      assert.equal(result.code, code, `${args.join(' ')}: ${stderr}${stdout}`);
      assert.match(stderr + stdout, says);
    }
  });

  test('a device gives way to another one of the host', async () => {
    const { code, stdout, stderr } = await runCli(state, ['swap', 'web1', '--with', 'nic1']);
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /Swap +web1 on a: completed/);
    assert.match(stdout, /e1000e .*→ .*virtio/);
    const now = placed(await labStatus());
    assert.deepEqual(now, { ...ON_A, model: 'virtio-net-pci,queues=2', claims: ['a/nic1'], epoch: 3 });
  });

  test('a watched device that dies is replaced without being asked for', async () => {
    await inGuest(`(
      until grep -q '"e":"ready"' /run/shadowferry/net0/log.jsonl 2>/dev/null; do sleep 0.2; done
      sleep 1
      ${UNBIND}
    ) </dev/null >/dev/null 2>&1 &`);
    const args = ['rescue', 'web1', '--with', 'nic0', '--watch', '--every', '2', '--json'];
    const { code, stdout, stderr } = await runCli(state, args);
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /"type":"watch","text":"net0 of web1: nic0 \(e1000e\) stands by, continuity bridge/);
    const result = objects({ stdout }).at(-1);
    assert.deepEqual([result?.kind, result?.ok, result?.continuity], ['rescue', true, 'bridge']);
    assert.deepEqual(placed(await labStatus()), { ...ON_A, epoch: 3 });
  });

  test('one that died unwatched is replaced when that is asked for, with what the history knows', async () => {
    await inGuest(UNBIND);
    const { code, stdout, stderr } = await runCli(state, ['rescue', 'web1', 'net0', '--with', 'nic1']);
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /Rescue +web1 on a: completed/);
    const [line] = objects(await runCli(state, ['shadow', 'history', 'web1', '--json']));
    assert.match(JSON.stringify(line), /"by":"rescue"/);
    assert.equal(placed(await labStatus()).plugged, true);
  });

  test('"lab down" leaves nothing, and may be said twice', async () => {
    const down = await runCli(state, ['lab', 'down']);
    assert.deepEqual([down.code, down.stdout], [0, `The lab in ${first.directory} is gone.\n`]);
    assert.deepEqual(listLeftovers(first.id), { namespaces: [], processes: [] });
    assert.equal(existsSync(first.directory), false);
    assert.equal(existsSync(join(state, 'lab')), false);
    const again = await runCli(state, ['lab', 'down']);
    assert.deepEqual([again.code, again.stdout], [0, 'There is no lab.\n']);
  });
});
