/** VMs with several NICs: each gets its own device of its own network, all at once, and nothing is swapped. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { exec } from '../../src/base/exec.ts';
import { vmPaths } from '../../src/hypervisor/qemu/spec.ts';
import { QmpClient } from '../../src/hypervisor/qmp/client.ts';
import { QmpProxy } from '../../src/hypervisor/qmp/proxy.ts';
import { guestNic } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import { migrateInLab } from '../../src/lab/scenario.ts';
import type { Outcomes } from '../../src/migration/engine.ts';
import { reattach } from '../../src/migration/reattach.ts';
import { parseRequest } from '../../src/migration/request.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import { isPlugged, type RunningVm } from '../../src/migration/vm.ts';
import {
  assertLosses,
  assertSurvived,
  CACHE,
  DRIVERS,
  driverInGuest,
  type GuestLook,
  inGuest,
  lookAtHost,
  lookIntoGuest,
  MIGRATION_MS,
  type Model,
  NOTHING,
  watchConnections,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const QUIET_MS = 500;
/** For a move with all that is looked at before and after it; ten times what it takes on a quiet machine. */
const LONG_MS = 5 * MIGRATION_MS;
/** A guest's own sending side backs off: what was away for long under a loaded machine may be back late. */
const PATIENT = { readyMs: 30_000, finishMs: 60_000 };
const LAN = guestNic(0, 0);
const DMZ = guestNic(1, 1);
const SIDE = guestNic(2, 1);

/** The kernel takes a route with its source address, also that of a NIC that is not direct and stays. */
const LEANING = `
$ip route add 198.51.100.128/25 via ${SIDE.gateway} dev ${SIDE.interface} src ${LAN.address}
`;

/** Routes that lean on both NICs: whichever device comes first cannot have them yet. */
const BOTH = `
$ip route add 198.51.100.0/24 via ${DMZ.gateway} dev ${DMZ.interface} src ${LAN.address}
$ip route add 203.0.113.0/24 nexthop via ${LAN.gateway} dev ${LAN.interface} nexthop via ${DMZ.gateway} dev ${DMZ.interface}
`;

function told(result: MigrationResult): string {
  const nics = result.nics.map(({ nic, error, shadow }) => ({ nic, error, lost: shadow.lost }));
  return JSON.stringify([result.error, result.left, result.warnings, nics, result.marks], undefined, 1);
}

/** Watches NICs while `act` runs, and wants every connection over every one of them to live. */
async function watched(
  lab: Lab,
  nics: readonly { address: string }[],
  act: () => Promise<void>,
): Promise<void> {
  const probes: Probes[] = [];
  try {
    for (const { address } of nics) probes.push(await watchConnections(lab, address, PATIENT));
    await act();
    await delay(QUIET_MS);
    for (const each of probes) assertSurvived(await each.stop());
  } finally {
    for (const each of probes) each.kill();
  }
}

async function move(lab: Lab, vm: RunningVm, request: Record<string, unknown>): Promise<Outcomes> {
  const destination = vm.host.name === 'a' ? 'b' : 'a';
  const limits = { agentMs: 60_000, attachMs: 60_000 };
  const asked = parseRequest({ vm: vm.qemu.spec.name, destination, limits, ...request });
  return migrateInLab({ lab, vm, request: asked });
}

/** The lowest interface below one, or itself: the one with the direct device's driver. */
const LOWEST = `
d=$1
if [ -d "/sys/class/net/$1/bonding" ]; then read -r d <"/sys/class/net/$1/bonding/active_slave"; fi
echo "$d"
`;

async function driverBelow(vm: RunningVm, dev: string): Promise<string | undefined> {
  return driverInGuest(vm, (await inGuest(vm, LOWEST, [dev])).trim());
}

/** A peer of each network reaches the guest over that network's NIC only: MACs and addresses belong together. */
async function macsSeen(lab: Lab): Promise<Record<string, string>> {
  const { stdout } = await exec(lab.outside(['ip', '-j', '-4', 'neighbour']));
  const entries: unknown = JSON.parse(stdout);
  assert.ok(Array.isArray(entries));
  return Object.fromEntries(entries.map(({ dst, lladdr }) => [dst, lladdr]));
}

describe('two direct NICs and one that is not', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let asBooted: GuestLook[] = [];

  /** Without names of interfaces that come and go with the mode, and what is of all NICs. */
  const looks = (at: RunningVm) =>
    Promise.all([LAN, DMZ, SIDE].map((nic) => lookIntoGuest(at, nic.interface)));

  before(async () => {
    lab = await Lab.create({
      cacheDir: CACHE,
      // the destination offers them in the opposite order
      devices: { a: ['e1000e', 'vmxnet3@dmz'], b: ['e1000e@dmz', 'vmxnet3'] },
      log: console.log,
    });
    vm = await lab.boot({
      nics: [
        { device: 'nic1', setup: { extra: BOTH } },
        { device: null, network: 'dmz', setup: { plain: true, extra: LEANING } },
      ],
    });
    asBooted = await looks(vm);
  });

  after(async () => lab?.dispose());

  /** Moves it over, and holds what must be true after every move. */
  async function moves(request: Record<string, unknown>, modes: string[], indexAnew: boolean): Promise<void> {
    const source = vm.host.name;
    const seen: MigrationResult[] = [];
    await watched(lab, [LAN, DMZ, SIDE], async () => {
      const { result, destinationVm } = await move(lab, vm, request);
      seen.push(result);
      assert.equal(result.ending, 'completed', told(result));
      assert.ok(destinationVm);
      vm = destinationVm;
    });
    const [result] = seen;
    assert.ok(result);
    assert.deepEqual(
      result.nics.map(({ nic, ok, continuity }) => [nic, ok, continuity]),
      [
        ['net0', true, modes[0]],
        ['net1', true, modes[1]],
      ],
    );
    assertLosses(result, indexAnew);
    for (const [n, nic] of [LAN, DMZ].entries()) {
      const spec = vm.qemu.spec.nics[n];
      const model = (spec?.direct?.model ?? '') as Model;
      assert.equal(result.nics[n]?.to.model, model);
      assert.equal(await driverBelow(vm, nic.interface), DRIVERS[model]);
      assert.equal(result.nics[n]?.to.driver, DRIVERS[model]);
    }
    const now = await looks(vm);
    assert.deepEqual(
      now.map(({ configured }) => configured),
      asBooted.map(({ configured }) => configured),
    );
    assert.deepEqual(now[0]?.leftovers, []);
    const macs = await macsSeen(lab);
    for (const [n, { address }] of [LAN, DMZ, SIDE].entries())
      assert.equal(macs[address], vm.qemu.spec.nics[n]?.mac, address);
    assert.deepEqual(await lookAtHost(lab, source), NOTHING);
    assert.equal((await lab.ownership.claims(source)).length, 0);
  }

  it('a dry run shows which device each gets, and why', { timeout: LONG_MS }, async () => {
    const { result, preflight } = await move(lab, vm, { dryRun: true });
    assert.equal(result.ending, 'planned', told(result));
    const shown = preflight?.nics.map(({ move: { nic, target } }) => [nic.id, target.id, target.network]);
    assert.deepEqual(shown, [
      ['net0', 'nic1', 'lan'],
      ['net1', 'nic0', 'dmz'],
    ]);
    const why = result.decisions.find(({ action }) => action === 'net1 → nic0');
    assert.match(why?.reason ?? '', /only one that is free on network "dmz"/);
    assert.deepEqual(await lookAtHost(lab, 'b'), NOTHING);
  });

  it('a device of the other network is refused', async () => {
    const swapped = move(lab, vm, { devices: { net0: 'nic0', net1: 'nic1' } });
    await assert.rejects(swapped, /devices\.net0.*on network "dmz"/);
  });

  it('replay: both, with policy routes and routes that lean on each other', {
    timeout: LONG_MS,
  }, async () => {
    await moves({ continuity: 'replay' }, ['replay', 'replay'], true);
  });

  it('bridge and replay side by side', { timeout: LONG_MS }, async () => {
    await moves({ continuity: 'replay', continuityOf: { net0: 'bridge' } }, ['bridge', 'replay'], true);
  });

  it('hold: both', { timeout: LONG_MS }, async () => {
    const devices = { net0: 'nic1', net1: 'nic0' };
    await moves({ continuity: 'hold', devices }, ['hold', 'hold'], true);
  });

  it('bridge: both', { timeout: LONG_MS }, async () => {
    await moves({ continuity: 'bridge' }, ['bridge', 'bridge'], false);
  });
});

/** The guest loses its driver for a device, as a guest may that was never prepared for it. */
const HIDE_DRIVER = `
module=$(modinfo -n "$1")
mv "$module" /run/hidden-driver
printf '%s\\n' "$module" >/run/hidden-driver-path
rmmod "$1" 2>/dev/null || :
`;
const BRING_DRIVER_BACK = 'mv /run/hidden-driver "$(cat /run/hidden-driver-path)"; modprobe "$1"';

describe("two NICs that have each other's name, and one of the two fails", needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let asBooted: GuestLook[] = [];
  // the kernel gives a device the first free name, so each is born with what the other is called
  const NAMES = ['eth1', 'eth0'] as const;
  const looks = (at: RunningVm) => Promise.all(NAMES.map((name) => lookIntoGuest(at, name)));

  before(async () => {
    lab = await Lab.create({
      cacheDir: CACHE,
      devices: { a: ['e1000e', 'e1000e@dmz'], b: ['e1000e', 'vmxnet3@dmz'] },
      log: console.log,
    });
    vm = await lab.boot({
      standby: 'none',
      setup: { interface: NAMES[0] },
      nics: [{ device: 'nic1', standby: 'none', setup: { interface: NAMES[1] } }],
    });
    asBooted = await looks(vm);
  });

  after(async () => lab?.dispose());

  async function assertAsBooted(): Promise<void> {
    const now = await looks(vm);
    assert.deepEqual(
      now.map(({ configured }) => configured),
      asBooted.map(({ configured }) => configured),
    );
    assert.deepEqual(now[0]?.interfaces, asBooted[0]?.interfaces);
    assert.deepEqual(now[0]?.leftovers, []);
  }

  it('one of the two is not released: both are on the source as before', {
    timeout: LONG_MS,
  }, async () => {
    const upstream = vmPaths(vm.qemu.directory).monitor;
    const listen = `${lab.directory}/proxy.sock`;
    const connect = (path: string) =>
      QmpClient.connect({ path, name: 'web1@a', signal: deadline('the monitor', 5000) });
    await vm.qemu.monitor.close();
    const refusal = { device: 'dev-net1', path: '/machine/peripheral/dev-net1' };
    const proxy = await QmpProxy.start({
      listen,
      upstream,
      hooks: {
        onCommand: (name, args) => {
          if (name !== 'device_del' || JSON.stringify(args ?? {}).includes('dev-net0')) return 'pass';
          queueMicrotask(() => proxy.injectEvent('DEVICE_UNPLUG_GUEST_ERROR', refusal));
          return { answer: { return: {} } };
        },
      },
    });
    vm.qemu = { ...vm.qemu, monitor: await connect(listen) };
    try {
      await watched(lab, [LAN, DMZ], async () => {
        const { result } = await move(lab, vm, { continuity: 'replay' });
        assert.equal(result.ending, 'rolled-back', told(result));
        assert.equal(result.error?.code, 'GUEST_REFUSED_UNPLUG', told(result));
        for (const nic of vm.qemu.spec.nics) assert.ok(await isPlugged(vm, nic), nic.id);
        await assertAsBooted();
        assert.deepEqual(await lookAtHost(lab, 'b'), NOTHING);
        assert.deepEqual(await lab.ownership.claims('b'), []);
      });
    } finally {
      await vm.qemu.monitor.close();
      await proxy.close();
      vm.qemu = { ...vm.qemu, monitor: await connect(upstream) };
    }
  });

  it('one of the two does not come: the other is there, and "attach" brings the missing one', {
    timeout: LONG_MS,
  }, async () => {
    await inGuest(vm, HIDE_DRIVER, ['vmxnet3']);
    await watched(lab, [LAN], async () => {
      const limits = { agentMs: 60_000, attachMs: 15_000, attachTries: 1 };
      const { result, destinationVm } = await move(lab, vm, { continuity: 'replay', limits });
      assert.equal(result.ending, 'degraded', told(result));
      assert.ok(destinationVm);
      vm = destinationVm;
      assert.deepEqual(
        result.nics.map(({ nic, ok, error }) => [nic, ok, error?.code]),
        [
          ['net0', true, undefined],
          ['net1', false, 'DEADLINE'],
        ],
      );
      assert.match(result.error?.message ?? '', /net1/);
      assert.equal(await driverInGuest(vm, NAMES[0]), 'e1000e');
    });
    await inGuest(vm, BRING_DRIVER_BACK, ['vmxnet3']);
    const { journal, ownership, abilities } = lab;
    const { nics } = await reattach({ vm, journal, ownership, abilities, say: () => {} });
    assert.deepEqual(
      nics.map(({ nic, action }) => [nic, action]),
      [
        ['net0', 'none'],
        ['net1', 'attached'],
      ],
    );
    assert.equal(await driverInGuest(vm, NAMES[1]), 'vmxnet3');
    await assertAsBooted();
  });

  it('each takes its own name from the other', { timeout: LONG_MS }, async () => {
    await watched(lab, [LAN, DMZ], async () => {
      const { result, destinationVm } = await move(lab, vm, { continuity: 'replay' });
      assert.equal(result.ending, 'completed', told(result));
      assert.ok(destinationVm);
      vm = destinationVm;
      assertLosses(result, true);
      await assertAsBooted();
    });
  });
});
