/**
 * A real guest under a real daemon: started, found again after a kill, adopted, never run against its record, and given
 * other devices while connections live.
 */
import assert from 'node:assert/strict';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import { exec } from '../../src/base/exec.ts';
import { findProgram } from '../../src/base/find-program.ts';
import { API } from '../../src/daemon/api/contract.ts';
import type { VmDetail } from '../../src/daemon/api/model-vms.ts';
import { QmpClient } from '../../src/hypervisor/qmp/client.ts';
import { deviceDel } from '../../src/hypervisor/qmp/commands.ts';
import { shadowferry } from '../../src/lab/daemon-process.ts';
import { LabDaemons, type LabHostName } from '../../src/lab/daemons.ts';
import { GUEST_ADDRESS, guestSetup } from '../../src/lab/guest-setup.ts';
import { ensureGuestImage } from '../../src/lab/image/image.ts';
import { guestKernelArgs } from '../../src/lab/image/kernel-args.ts';
import { READY_LINE, SETUP_FW_CFG } from '../../src/lab/image/services.ts';
import { NETWORK } from '../../src/lab/lab.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';
import { startProbes, UNHURRIED } from '../../src/lab/probe/probes.ts';
import { assertSurvived } from './migrating.ts';

const skip = findProgram('etcd') === undefined && 'there is no etcd on this machine';
const MAC = '52:54:00:5f:00:10';
const WEB1 = { params: { vm: 'web1' }, query: {} };

/** QEMU with one more monitor, as another program of an operator may have one. */
const OUTSIDE_MONITOR = `#!/bin/sh
directory=
for word do
  case $word in
    socket,id=mon0,path=*) directory=\${word#*path=} directory=\${directory%%/qmp.sock*} ;;
  esac
done
[ -z "$directory" ] || set -- "$@" -mon chardev=outside0,mode=control \\
  -chardev "socket,id=outside0,path=$directory/outside.sock,server=on,wait=off"
exec qemu-system-x86_64 "$@"
`;

describe('a VM under daemons', { skip }, () => {
  let lab: LabDaemons;
  let firmwareFiles: { name: string; path: string }[] = [];
  const client = (host: LabHostName = 'a') => lab.daemons[host].client;
  const look = (host?: LabHostName): Promise<VmDetail> => client(host).call(API.getVm, WEB1);
  const ping = async () =>
    (await exec(lab.outside(['ping', '-c', '1', '-W', '2', GUEST_ADDRESS]), { allowFailure: true })).code ===
    0;
  /** A packet may be lost on a loaded machine; a guest that runs answers one of the next. */
  const answers = async () => {
    const until = Date.now() + 20_000;
    while (Date.now() < until) if (await ping()) return true;
    return false;
  };

  before(async () => {
    const cacheDir = cacheDirectory();
    const { kernel, initrd } = await ensureGuestImage({ cacheDir, log: () => {} });
    lab = await LabDaemons.create({
      devices: { a: ['e1000e', 'vmxnet3'], b: ['vmxnet3'] },
      members: 1,
      qemu: (_, directory) => {
        const program = join(directory, 'qemu');
        writeFileSync(program, OUTSIDE_MONITOR);
        chmodSync(program, 0o755);
        return program;
      },
    });
    const setup = join(lab.directory, 'setup.sh');
    writeFileSync(setup, guestSetup({ mac: MAC }));
    firmwareFiles = [{ name: SETUP_FW_CFG, path: setup }];
    const body = {
      ...{ name: 'web1', memoryMiB: 192, firmwareFiles },
      boot: { kernel, initrd, append: guestKernelArgs() },
      nics: [{ id: 'net0', mac: MAC, network: NETWORK, device: 'nic0', standby: 'virtio' as const }],
    };
    await client().call(API.defineVm, { params: {}, query: {}, body });
  });
  after(async () => {
    await lab?.dispose();
    assert.deepEqual(listLeftovers(lab.id), { namespaces: [], processes: [] });
  });

  test('it is started by the API, and its console is followed until it is up', async () => {
    const started = await client().call(API.startVm, { ...WEB1, body: {} });
    assert.deepEqual([started.state, started.epoch], ['running', 1]);
    const signal = deadline('booting the guest', 120_000);
    let said = '';
    for (let from = 0; !said.includes(READY_LINE); ) {
      signal.throwIfAborted();
      const piece = await client().call(API.readConsole, { ...WEB1, query: { from, waitSeconds: 5 } });
      said += piece.text;
      from = piece.next;
    }
    assert.ok(await answers());
  });

  test('it outlives its daemon, which finds it again', async () => {
    const { pid } = await look();
    lab.daemons.a.kill();
    await lab.daemons.a.gone();
    assert.ok(await answers());
    await lab.daemons.a.start();
    const found = await look();
    assert.deepEqual([found.state, found.pid, found.why, found.epoch], ['running', pid, null, 1]);
  });

  test('adopted by its monitor it can do all that it could', async () => {
    await lab.daemons.a.stop();
    assert.ok(await answers(), 'a graceful stop leaves it running');
    const { state } = lab.places.a;
    for (const end of ['', '-wal', '-shm']) rmSync(join(state, `vms.db${end}`), { force: true });
    await lab.daemons.a.start();
    const socket = join(state, 'vms', 'web1', 'qmp.sock');
    const body = { socket, firmwareFiles, devices: { net0: 'nic0' } };
    await assert.rejects(
      client().call(API.adoptVm, { params: {}, query: {}, body: { ...body, devices: { net0: 'nic9' } } }),
      { code: 'UNKNOWN_DEVICE' },
    );
    const vm = await client().call(API.adoptVm, { params: {}, query: {}, body });
    const abilities = new Map(vm.adopted?.abilities.map((each) => [each.what, each]));
    assert.equal(vm.adopted?.whole, true, JSON.stringify(vm.adopted));
    for (const what of ['guest', 'shadow', 'swap', 'bridge', 'migrate', 'start'])
      assert.equal(abilities.get(what)?.can, true, JSON.stringify(abilities.get(what)));
    assert.equal(vm.nics[0]?.model, 'e1000e');
    assert.ok(await answers());
  });

  test('a daemon that comes back to a record of another host pauses it at once, and says so', async () => {
    await lab.daemons.a.stop();
    const why = 'the test says that a is dead';
    const owned = await client('b').call(API.takeOverVm, { ...WEB1, body: { why } });
    assert.deepEqual([owned.owner, owned.epoch], ['b', 2]);
    await lab.daemons.a.start();
    const found = await look();
    assert.equal(found.state, 'paused');
    assert.match(found.why ?? '', /host "b" owns it \(epoch 2\), so it was paused here/);
    assert.equal(await ping(), false);
    await assert.rejects(client().call(API.resumeVm, { ...WEB1, body: {} }), { code: 'START_REFUSED' });
    await client().call(API.takeOverVm, { ...WEB1, body: { why: 'and that b is' } });
    assert.equal((await client().call(API.resumeVm, { ...WEB1, body: {} })).state, 'running');
    assert.ok(await answers());
  });

  /** Has it done by the command line, asking the daemon, under the eyes of probes. */
  async function underTraffic(args: readonly string[], first = async () => {}): Promise<void> {
    const probes = startProbes({ enter: lab.outside([]), target: GUEST_ADDRESS, ...UNHURRIED });
    try {
      await probes.ready;
      await first();
      const done = await exec(shadowferry([...args, '--json', '--host', lab.daemons.a.socket]), {
        allowFailure: true,
      });
      assert.equal(done.code, 0, done.stdout + done.stderr);
      assertSurvived(await probes.stop());
    } finally {
      probes.kill();
    }
  }
  const claimed = async () =>
    (await client().call(API.listDevices, { params: {}, query: {} })).items
      .filter(({ claimedBy }) => claimedBy !== null)
      .map(({ id }) => id);

  for (const [continuity, device, model] of [
    ['replay', 'nic1', 'vmxnet3'],
    ['hold', 'nic0', 'e1000e'],
    ['bridge', 'nic1', 'vmxnet3'],
  ] as const) {
    test(`its device gives way to another one, with ${continuity}`, async () => {
      await underTraffic(['swap', 'web1', '--with', device, '--continuity', continuity]);
      const { nics, busy } = await look();
      assert.deepEqual([nics[0]?.device, nics[0]?.model, busy], [device, model, null]);
      assert.deepEqual(await claimed(), [device]);
      const [last] = (await client().call(API.listMigrations, { params: {}, query: { limit: 1 } })).items;
      assert.deepEqual([last?.kind, last?.ending], ['swap', 'completed']);
    });
  }

  test('a device that is pulled without a word is replaced by a spare', async () => {
    const path = join(lab.places.a.state, 'vms', 'web1', 'outside.sock');
    const signal = deadline('the removal', 60_000);
    const outside = await QmpClient.connect({ path, name: 'outside', signal });
    await underTraffic(['rescue', 'web1', '--with', 'nic0'], async () => {
      const gone = outside.waitFor('DEVICE_DELETED', { signal });
      await deviceDel(outside, 'dev-net0');
      await gone.promise;
    });
    await outside.close();
    assert.equal((await look()).nics[0]?.model, 'e1000e');
    assert.deepEqual(await claimed(), ['nic0']);
    await underTraffic(['attach', 'web1']); // nothing is missing, which is said and no error
  });

  test('each host knows of the other that it is alive', async () => {
    const { items } = await client().call(API.listHosts, { params: {}, query: {} });
    assert.deepEqual(
      items.map(({ name, alive }) => [name, alive]),
      [
        ['a', true],
        ['b', true],
      ],
    );
  });

  test('stopped it leaves no tap and no claim', async () => {
    const stopped = await client().call(API.stopVm, { ...WEB1, body: { waitSeconds: 1 } });
    assert.equal(stopped.state, 'stopped');
    const links = await exec(['ip', '-n', lab.netns('a'), '-br', 'link']);
    assert.doesNotMatch(links.stdout, /^sf[ds]/m);
    assert.deepEqual(await claimed(), []);
  });
});
