/** What fails before the commit leaves the VM as it was: on the source, with its device, its shadow and its connections. */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import { exec } from '../../src/base/exec.ts';
import { ShadowferryError } from '../../src/errors.ts';
import type { Host } from '../../src/host/host.ts';
import { guestPciPath } from '../../src/hypervisor/qemu/pci.ts';
import { findQemu } from '../../src/hypervisor/qemu/process.ts';
import { channelPorts, vmPaths } from '../../src/hypervisor/qemu/spec.ts';
import { QmpClient } from '../../src/hypervisor/qmp/client.ts';
import { qomList, queryMigrate, queryStatus } from '../../src/hypervisor/qmp/commands.ts';
import { QmpProxy } from '../../src/hypervisor/qmp/proxy.ts';
import { Lab } from '../../src/lab/lab.ts';
import { inNamespace } from '../../src/lab/network/network.ts';
import { processesIn } from '../../src/lab/network/processes.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import type { DestinationHost, Incoming } from '../../src/migration/destination/destination.ts';
import { LocalDestination } from '../../src/migration/destination/local-host.ts';
import { migrateVm, type Outcomes } from '../../src/migration/engine.ts';
import type { MigrationEvent } from '../../src/migration/events.ts';
import { PHASES, type Phase } from '../../src/migration/machine.ts';
import { type MigrationRequest, parseRequest } from '../../src/migration/request.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { OwnershipStore } from '../../src/ownership/store.ts';
import { attributesOf } from '../../src/shadow/net/attributes.ts';
import { captureShadow } from '../../src/shadow/net/guest.ts';
import { inGuest, watchConnections } from './migrating.ts';

const MAC = '52:54:00:5f:00:10';

/** Attributes that a migration that was taken back may leave changed, and why. */
const MAY_DIFFER = [
  /^link\.ifindex$/, // the shadow interface that was made for the migration stays
  /^bond\./,
  /^lower\./,
  /^wake\./, // what the firmware found at boot can wake the machine; what is plugged later cannot
];

let lab: Lab;
let vm: RunningVm;

async function attributes(): Promise<Map<string, string>> {
  const pciPath = await guestPciPath(vm.qemu.monitor, 'rp-net0');
  const standby = await guestPciPath(vm.qemu.monitor, 'rps-net0');
  const signal = deadline('capturing', 20_000);
  const shadow = await captureShadow(vm.agent, { mac: MAC, pciPath }, standby, signal);
  const all = attributesOf(shadow).filter(({ key }) => !MAY_DIFFER.some((pattern) => pattern.test(key)));
  return new Map(all.map(({ key, value }) => [key, value]));
}

/** What differs, a line each. */
function changes(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...now.keys()])]
    .filter((key) => before.get(key) !== now.get(key))
    .map((key) => `${key}: ${before.get(key)} → ${now.get(key)}`);
}

interface Attempt {
  request?: Partial<MigrationRequest> & Record<string, unknown>;
  destination?: Host | DestinationHost;
  ownership?: OwnershipStore;
  source?: RunningVm;
  cancel?: AbortSignal;
  confirm?: () => Promise<void>;
  emit?: (event: MigrationEvent) => void;
}

function destinationOn(host: Host | DestinationHost): DestinationHost {
  if ('reserve' in host) return host;
  return new LocalDestination(host, { ownership: lab.ownership, abilities: lab.abilities });
}

/** Host b, with something that happens when it has given its vote. */
function onceLoaded(act: (incoming: Incoming) => Promise<unknown>): DestinationHost {
  const real = destinationOn(lab.hosts.b);
  const change = (incoming: Incoming): Incoming =>
    new Proxy(incoming, {
      get: (target, name) => {
        if (name === 'loaded')
          return async (signal: AbortSignal) => {
            await target.loaded(signal);
            await act(target);
          };
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  return new Proxy(real, {
    get: (target, name) => {
      if (name === 'reserve')
        return async (...args: Parameters<DestinationHost['reserve']>) =>
          change(await target.reserve(...args));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A store that hands nothing over. */
function refusing(store: OwnershipStore): OwnershipStore {
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'handOver')
        return async () => {
          throw new ShadowferryError('STORE_UNREACHABLE', { why: 'the test says so' });
        };
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A store after whose commit something happens. */
function onceCommitted(store: OwnershipStore, act: () => Promise<unknown>): OwnershipStore {
  let done = false;
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'handOver')
        return async (...args: Parameters<OwnershipStore['handOver']>) => {
          const record = await target.handOver(...args);
          if (!done) {
            done = true;
            await act();
          }
          return record;
        };
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function killDestination(): void {
  for (const { pid } of processesIn([lab.network?.host('b').netns ?? ''])) process.kill(pid, 'SIGKILL');
}

function attempt(options: Attempt): Promise<Outcomes> {
  // pre-copy, as the copy of post-copy is over before anything can fail in it
  const request = { vm: 'web1', destination: 'b', strategy: 'precopy', ...options.request };
  return migrateVm(parseRequest(request), {
    journal: lab.journal,
    ownership: options.ownership ?? lab.ownership,
    abilities: lab.abilities,
    source: options.source ?? vm,
    destination: destinationOn(options.destination ?? lab.hosts.b),
    emit: options.emit ?? (() => {}),
    cancel: options.cancel ?? new AbortController().signal,
    confirm: options.confirm,
  });
}

/** Nothing of the attempt is left on the destination, in the guest, or in the records. */
async function assertNothingLeft(): Promise<void> {
  const { network } = lab;
  assert.ok(network);
  assert.deepEqual(processesIn([network.host('b').netns]), []);
  const links = await exec(inNamespace(network.host('b').netns, ['ip', '-br', 'link']));
  assert.doesNotMatch(links.stdout, /^sf[ds]/m);
  assert.equal(await findQemu(lab.hosts.b.vmDirectory('web1'), deadline('finding', 1000)), undefined);
  assert.deepEqual(await lab.ownership.claims('b'), []);
  assert.equal((await lab.ownership.read('web1'))?.owner, 'a');
  assert.deepEqual(lab.journal.migrations({ open: true }), []);
  const files = await vm.agent.exec(['/bin/ls', '-A', '/run/shadowferry'], {});
  assert.equal(files.stdout.trim(), '', 'files of the replay program are left in the guest');
  const processes = await inGuest(vm, "grep -l 'run/shadowferr[y]' /proc/[0-9]*/cmdline || :");
  assert.equal(processes.trim(), '', 'processes of the replay program are left in the guest');
}

/** Runs an attempt that must be taken back, under traffic. */
async function assertTakenBack(options: Attempt, code: string | RegExp): Promise<Outcomes> {
  const probes: Probes = await watchConnections(lab);
  try {
    const shadow = await attributes();
    const outcomes = await attempt(options);
    const { result } = outcomes;
    assert.equal(result.ending, 'rolled-back', `${result.error?.message} ${result.left.join('; ')}`);
    if (typeof code === 'string') assert.equal(result.error?.code, code, result.error?.message);
    else assert.match(`${result.error?.code} ${result.error?.message}`, code);
    assert.equal((await queryStatus(vm.qemu.monitor)).running, true);
    const devices = await qomList(vm.qemu.monitor, '/machine/peripheral');
    assert.ok(
      devices.some(({ name }) => name === 'dev-net0'),
      'the device is attached again',
    );
    const { connections } = await probes.stop();
    assert.equal(connections.survived, connections.opened);
    assert.equal(connections.outOfOrder + connections.corrupt, 0);
    assert.deepEqual(changes(shadow, await attributes()), []);
    await assertNothingLeft();
    return outcomes;
  } finally {
    probes.kill();
  }
}

/** Host b with a QEMU that is not what it should be. */
function brokenHost(script: string): Host {
  const binary = join(lab.directory, 'broken-qemu');
  writeFileSync(binary, `#!/bin/sh\n${script}\n`);
  chmodSync(binary, 0o755);
  return { ...lab.hosts.b, qemu: { ...lab.hosts.b.qemu, binary } };
}

/** Calls `act` once, when the attempt enters a phase (and, for the copy, has sent something). */
function when(phase: Phase, act: () => void): (event: MigrationEvent) => void {
  let done = false;
  return (event) => {
    const there =
      phase === 'copy'
        ? event.type === 'progress' && event.transferred > 0
        : event.type === 'phase' && event.phase === phase;
    if (done || !there) return;
    done = true;
    act();
  };
}

describe('before the commit, whatever fails leaves the VM as it was', () => {
  before(async () => {
    lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: () => {},
    });
    // with a disk, whose locks the two QEMUs hand to each other
    const path = join(lab.directory, 'data.qcow2');
    await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', path, '64M']);
    vm = await lab.boot({ disks: [{ id: 'data', path, format: 'qcow2' }] });
  });
  after(async () => lab?.dispose());

  test("the destination's QEMU does not start", async () => {
    const real = lab.hosts.b.qemu.binary;
    // it answers what it is asked about models, and fails as a VM
    const host = brokenHost(
      `case "$*" in *guest=web1*) echo "no such luck" >&2; exit 1;; esac; exec ${real} "$@"`,
    );
    const { result } = await assertTakenBack({ destination: host }, 'QEMU_START_FAILED');
    assert.match(result.error?.message ?? '', /no such luck/);
  });

  test("the destination's machine type does not fit", async () => {
    const host = brokenHost(`exec ${lab.hosts.b.qemu.binary} "$@" -machine pc-q35-6.2`);
    await assertTakenBack({ destination: host }, 'MIGRATION_FAILED');
  });

  test('the guest refuses to release the device', async () => {
    const upstream = vmPaths(vm.qemu.directory).monitor;
    const listen = join(lab.directory, 'proxy.sock');
    const connect = (path: string) =>
      QmpClient.connect({ path, name: 'web1@a', signal: deadline('the monitor', 5000) });
    const refusal = { device: 'dev-net0', path: '/machine/peripheral/dev-net0' };
    await vm.qemu.monitor.close();
    const proxy = await QmpProxy.start({
      listen,
      upstream,
      hooks: {
        onCommand: (name) => {
          if (name !== 'device_del') return 'pass';
          queueMicrotask(() => proxy.injectEvent('DEVICE_UNPLUG_GUEST_ERROR', refusal));
          return { answer: { return: {} } };
        },
      },
    });
    vm.qemu = { ...vm.qemu, monitor: await connect(listen) };
    try {
      await assertTakenBack({}, 'GUEST_REFUSED_UNPLUG');
    } finally {
      await vm.qemu.monitor.close();
      await proxy.close();
      vm.qemu = { ...vm.qemu, monitor: await connect(upstream) };
    }
  });

  test('the program in the guest is not heard, and does not hear', async () => {
    const hold = `(exec 3<>"$1" && exec sleep 1000) </dev/null >/dev/null 2>&1 & echo $!`;
    const [port] = channelPorts(vm.qemu.spec, vm.qemu.directory);
    assert.ok(port);
    const holder = await inGuest(vm, hold, [port.guestPath]);
    try {
      await assertTakenBack({ request: { limits: { agentMs: 8000 } } as never }, 'DEADLINE');
    } finally {
      await inGuest(vm, 'kill "$1"', [holder.trim()]);
    }
  });

  test('the migration link is cut in the copy phase', async () => {
    const network = lab.network;
    assert.ok(network);
    const emit = when('copy', () => void network.cutMigrationLink());
    const request = { maxBandwidth: 20_000_000, limits: { stallMs: 1500 } } as never;
    try {
      const { result } = await assertTakenBack({ request, emit }, 'MIGRATION_FAILED');
      assert.match(result.error?.message ?? '', /link to the destination is dead/);
    } finally {
      await network.restoreMigrationLink();
    }
  });

  test("the destination's QEMU is killed in the copy phase", async () => {
    const emit = when('copy', killDestination);
    await assertTakenBack({ request: { maxBandwidth: 20_000_000 }, emit }, 'MIGRATION_FAILED');
  });

  for (const phase of PHASES.slice(0, 5)) {
    test(`the user cancels in ${phase}`, async () => {
      const cancel = new AbortController();
      const emit = when(phase, () => cancel.abort());
      await assertTakenBack(
        { request: { maxBandwidth: 40_000_000 }, emit, cancel: cancel.signal },
        'CANCELLED',
      );
    });
  }

  test('the user cancels at the switchover, with the source paused', async () => {
    const cancel = new AbortController();
    const confirm = async () => cancel.abort();
    await assertTakenBack({ confirm, cancel: cancel.signal }, 'CANCELLED');
  });

  for (const strategy of ['precopy', 'postcopy'] as const) {
    test(`${strategy}: the destination's QEMU is killed when it has loaded, before the commit`, async () => {
      const destination = onceLoaded(async (incoming) => {
        killDestination();
        // it is dead when its memory is freed; the commit must not come before that, and the source must have seen it too
        await incoming.gone;
        const signal = deadline('the end of the stream', 10_000);
        while ((await queryMigrate(vm.qemu.monitor, { signal })).status === 'postcopy-active') await delay(5);
      });
      const { result } = await assertTakenBack({ request: { strategy }, destination }, 'MIGRATION_FAILED');
      assert.match(result.error?.message ?? '', /QEMU is gone/);
    });

    test(`${strategy}: the user cancels when the destination has loaded`, async () => {
      const cancel = new AbortController();
      const destination = onceLoaded(async () => cancel.abort());
      await assertTakenBack({ request: { strategy }, destination, cancel: cancel.signal }, 'CANCELLED');
    });

    test(`${strategy}: the store refuses the commit`, async () => {
      const ownership = refusing(lab.ownership);
      await assertTakenBack({ request: { strategy }, ownership }, 'STORE_UNREACHABLE');
    });
  }

  for (const strategy of ['precopy', 'postcopy'] as const) {
    test(`${strategy}: the destination's QEMU is killed between the commit and its start`, async () => {
      const { promise, resolve } = Promise.withResolvers<Incoming>();
      const destination = onceLoaded(async (incoming) => resolve(incoming));
      const ownership = onceCommitted(lab.ownership, async () => {
        killDestination();
        await (await promise).gone;
      });
      const { result } = await assertTakenBack(
        { request: { strategy }, destination, ownership },
        'QMP_CLOSED',
      );
      const told = result.decisions.find(({ action }) => action === 'hand back');
      assert.match(told?.reason ?? '', /no vCPU of the VM ran on b/);
    });
  }

  for (const continuity of ['hold', 'replay'] as const) {
    test(`${continuity}: the user cancels during the copy`, async () => {
      const cancel = new AbortController();
      const emit = when('copy', () => cancel.abort());
      const request = { continuity, strategy: 'precopy', maxBandwidth: 40_000_000 } as const;
      await assertTakenBack({ request, emit, cancel: cancel.signal }, 'CANCELLED');
    });
  }

  test('and after all of that the VM still migrates', async () => {
    const { result } = await attempt({ request: { strategy: 'auto' } });
    assert.equal(result.ending, 'completed', result.error?.message);
  });
});

describe('a guest without hot-plug', () => {
  test('a device_del that nobody answers is taken back within its deadline', async () => {
    lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: ['e1000e'], b: ['vmxnet3'] },
      log: () => {},
    });
    try {
      vm = await lab.boot({ kernelArgs: ['acpiphp.disable=1'] });
      await assertTakenBack({ request: { limits: { unplugMs: 1500 } } as never }, 'UNPLUG_IGNORED');
    } finally {
      await lab.dispose();
    }
  });
});
