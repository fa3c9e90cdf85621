/** Real QEMUs that somebody else started, with their vCPUs stopped. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deadline } from '../../base/deadline.ts';
import { findProgram } from '../../base/find-program.ts';
import { GuestAccessSpec } from '../../guest/access.ts';
import { qemuArgv } from '../../hypervisor/qemu/argv.ts';
import { dial } from '../../hypervisor/qmp/dial.ts';
import { type AdoptOptions, adoptVm } from './adopt.ts';
import { type Bench, makeBench, specOf } from './fixture.test-data.ts';
import { pauseVm, startVm, stopVm } from './life.ts';

const QEMU = findProgram('qemu-system-x86_64');
const skip = QEMU === undefined ? 'this machine has no QEMU' : false;

/** The command line of one of ours elsewhere, without the kernel that this machine does not have. */
function ours(bench: Bench, name: string): string[] {
  const directory = join(bench.directory, name);
  mkdirSync(directory);
  const placement = { binary: QEMU ?? '', accelerator: 'tcg' as const, directory, taps: {}, incoming: false };
  const argv = qemuArgv(specOf(name, { machine: 'q35', cpu: 'qemu64,+aes', nics: [] }), placement);
  return argv.filter(
    (word, n) => ![word, argv[n - 1]].some((each) => each === '-kernel' || each === '-append'),
  );
}

async function run(t: TestContext, argv: readonly string[], socket: string): Promise<void> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  (await dial(socket, deadline('QEMU', 20_000))).destroy();
}

const asked = (socket: string, more: Partial<AdoptOptions> = {}): AdoptOptions => ({
  ...{ socket, devices: {}, networks: {}, firmwareFiles: [], guest: GuestAccessSpec.parse({}) },
  ...more,
});

test('one that is built as ours are can do all, is found again, and stops', { skip }, async (t) => {
  const bench = makeBench(t);
  const socket = join(bench.directory, 'web1', 'qmp.sock');
  await run(t, ours(bench, 'web1'), socket);
  const registry = await bench.registry();
  assert.equal(await adoptVm(registry, asked(socket)), 'web1');
  const { definition, spec, state } = registry.details('web1');
  const abilities = new Map(definition?.adopted?.abilities.map((each) => [each.what, each]));
  assert.deepEqual(
    [state, spec.machine.startsWith('pc-q35-'), spec.cpu, spec.memoryMiB],
    ['paused', true, 'qemu64,+aes', 64],
  );
  assert.equal(definition?.adopted?.whole, true, JSON.stringify(definition?.adopted));
  assert.deepEqual([abilities.get('migrate')?.can, abilities.get('swap')?.can], [true, false]);
  assert.match(abilities.get('guest')?.reason ?? '', /did not answer when it was adopted/);
  assert.equal(abilities.get('start')?.can, false);
  assert.equal((await bench.ownership.read('web1'))?.owner, 'alpha');
  await assert.rejects(adoptVm(registry, asked(socket)), { code: 'VM_EXISTS' });
  const again = await bench.registry();
  assert.equal(again.get('web1').state, 'paused');
  assert.equal(await again.hold('web1', 'a look', async (vm) => vm.qemu.spec.name), 'web1');
  assert.equal((await stopVm(again, 'web1', { force: false, waitMs: 100 })).how, 'forced');
  assert.equal(again.get('web1').state, 'stopped');
  assert.ok(existsSync(join(bench.directory, 'web1')), 'what was there before is left as it is');
  await assert.rejects(startVm(again, 'web1'), {
    code: 'VM_LIMITED',
    message: /neither a kernel nor a disk/,
  });
});

test('any other is watched and stopped, and it is said why it cannot do more', { skip }, async (t) => {
  const bench = makeBench(t);
  const socket = join(bench.directory, 'q.sock');
  const argv = [
    ...[
      QEMU ?? '',
      '-machine',
      'q35',
      '-accel',
      'tcg',
      '-m',
      '64',
      '-display',
      'none',
      '-S',
      '-name',
      'Old VM',
    ],
    ...['-qmp', `unix:${socket},server=on,wait=off`, '-netdev', 'user,id=n0'],
    ...['-device', 'e1000e,id=nic,netdev=n0,mac=52:54:00:00:00:01'],
  ];
  await run(t, argv, socket);
  const registry = await bench.registry();
  await assert.rejects(adoptVm(registry, asked(socket)), {
    code: 'ADOPT_REFUSED',
    message: /called "Old VM", which is no name of a VM here/,
  });
  assert.equal(await bench.ownership.read('old'), undefined);
  await adoptVm(registry, asked(socket, { name: 'old' }));
  const { definition } = registry.details('old');
  const migrate = definition?.adopted?.abilities.find(({ what }) => what === 'migrate');
  assert.equal(definition?.adopted?.whole, false);
  assert.match(migrate?.reason ?? '', /nic \(52:54:00:00:00:01\) is not in a port of its own/);
  await assert.rejects(
    registry.hold('old', 'a migration', async () => {}),
    { code: 'VM_LIMITED', message: /migrate: nic/ },
  );
  await pauseVm(registry, 'old');
  const again = await bench.registry();
  assert.equal(again.get('old').state, 'paused');
  await stopVm(again, 'old', { force: true, waitMs: 100 });
  assert.equal(again.get('old').state, 'stopped');
});

test('one whose monitor another program uses, or whose name another host owns, is refused', {
  skip,
}, async (t) => {
  const bench = makeBench(t);
  const socket = join(bench.directory, 'web1', 'qmp.sock');
  await run(t, ours(bench, 'web1'), socket);
  const registry = await bench.registry();
  await assert.rejects(adoptVm(registry, asked('/nowhere')), {
    code: 'ADOPT_REFUSED',
    message: /no such socket/,
  });
  await bench.ownership.register('web1', 'beta');
  await assert.rejects(adoptVm(registry, asked(socket)), { code: 'NOT_OWNER' });
  assert.deepEqual(registry.list(), []);
  const other = connect(socket);
  await new Promise((resolve) => other.once('data', resolve));
  await assert.rejects(adoptVm(registry, asked(socket, { greetMs: 300 })), {
    code: 'ADOPT_REFUSED',
    message: /another program is connected/,
  });
  other.destroy();
});
