/** What is asked of the system; a directory stands for its list of interfaces. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { exec } from '../../base/exec.ts';
import { tapName } from '../host.ts';
import { LinuxHost } from './host.ts';

interface Machine {
  host: LinuxHost;
  /** Commands, with what came on their standard input. */
  ran: string[];
  add: (name: string, bridge?: boolean) => void;
}

function machine(t: TestContext, stderrOf: (command: string) => string = () => ''): Machine {
  const sysfs = mkdtempSync(join(tmpdir(), 'sf-host-'));
  t.after(() => rmSync(sysfs, { recursive: true }));
  const ran: string[] = [];
  const run: typeof exec = async (argv, options = {}) => {
    const command = argv.join(' ');
    ran.push(options.input === undefined ? command : `${command}: ${options.input}`);
    const stderr = stderrOf(command);
    return { code: stderr === '' ? 0 : 2, stdout: '', stderr };
  };
  const add = (name: string, bridge = false) => {
    mkdirSync(join(sysfs, name, ...(bridge ? ['brif'] : [])), { recursive: true });
    writeFileSync(join(sysfs, name, 'mtu'), '9000\n');
  };
  const host = new LinuxHost({
    ...{ name: 'alpha', migrationAddress: '192.0.2.1', qemu: { binary: 'qemu', accelerator: 'tcg' } },
    ...{
      directory: '/var/lib/shadowferry/vms',
      networks: { lan: { bridge: 'br0' } },
      devices: [],
      diskDirectories: [],
      sysfs,
      run,
    },
  });
  return { host, ran, add };
}

test('a tap has the MTU of its bridge, no address of its own, and as many queues as are asked for', async (t) => {
  const { host, ran, add } = machine(t);
  add('br0', true);
  await host.createTap('sfd0', 'lan', 4);
  assert.deepEqual(ran, [
    'ip tuntap add dev sfd0 mode tap multi_queue',
    'ip link set dev sfd0 mtu 9000 master br0 addrgenmode none',
    'ip link set dev sfd0 up',
  ]);
  add('sfd0');
  await host.removeTap('sfd0');
  assert.equal(ran.at(-1), 'ip link del dev sfd0');
});

test('a bridge that is not there, or is none, is told with its network', async (t) => {
  const { host, ran, add } = machine(t);
  await assert.rejects(host.createTap('sfd0', 'lan'), {
    code: 'NETWORK_MISSING',
    message: /no bridge "br0"/,
  });
  add('br0');
  await assert.rejects(host.createTap('sfd0', 'lan'), {
    code: 'NETWORK_MISSING',
    message: /"br0" is no bridge/,
  });
  await assert.rejects(host.createTap('sfd0', 'wan'), { code: 'NETWORK_MISSING', message: /knows lan/ });
  assert.deepEqual(ran, []);
});

test('a tap that cannot be finished is not left, and missing rights are told as such', async (t) => {
  const { host, ran, add } = machine(t, (command) =>
    command.includes('master') ? 'RTNETLINK answers: Operation not permitted\n' : '',
  );
  add('br0', true);
  add('sfd0');
  await assert.rejects(host.createTap('sfd0', 'lan'), { code: 'RIGHTS_MISSING' });
  assert.equal(ran.at(-1), 'ip link del dev sfd0');
});

test('what comes in for an absent VM is answered on every port but its own', async (t) => {
  const { host, ran, add } = machine(t);
  if (host.answerUnreachable === undefined) return t.skip('this machine has no nft');
  add('br0', true);
  const own = tapName('web1', 'net0', 'standby');
  for (const port of ['eth0', own, 'sfd1234abcd']) add(join('br0', 'brif', port));
  const absent = { vm: 'web1', nic: 'net0', network: 'lan' };
  await host.answerUnreachable(absent, ['10.0.0.5']);
  assert.match(ran.at(-1) ?? '', /devices = \{ "eth0", "sfd1234abcd" \}/);
  assert.match(ran.at(-1) ?? '', /ip daddr 10\.0\.0\.5/);
  await host.answerUnreachable(absent, []);
  assert.match(ran.at(-1) ?? '', /delete table netdev shadowferry-web1\.net0\n$/);
});
