/** The commands around a lab that stays, as a user types them: up, plan, hold, cancel, migrate, back by plan, down. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { listLeftovers } from '../../src/lab/network/network.ts';
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

describe('a lab that stays', needsNetworkRights(), () => {
  before(async () => {
    const { code, stdout, stderr } = await runCli(state, ['lab', 'up', '--json']);
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
