/** A direct device dies without a word, and a spare takes its place with the last state that is known. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { deviceDel } from '../../src/hypervisor/qmp/commands.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { ProbeResult } from '../../src/lab/probe/probes.ts';
import { watchGuest } from '../../src/lab/scenario.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import { swapDevice } from '../../src/migration/swap/engine.ts';
import { guardDevice } from '../../src/migration/swap/guard.ts';
import { lastKnownShadow } from '../../src/migration/swap/history.ts';
import { SwapRequest } from '../../src/migration/swap/request.ts';
import { vmSite } from '../../src/migration/swap/vm-site.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { captureShadow } from '../../src/shadow/net/guest.ts';
import {
  assertLosses,
  assertSurvived,
  CACHE,
  DRIVERS,
  driverInGuest,
  type GuestLook,
  inGuest,
  lookIntoGuest,
  MIGRATION_MS,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const QUIET_MS = 500;
const [FIRST, SECOND] = ['e1000e', 'vmxnet3'] as const;
/** PCI path of the direct device in the lab's guest, by the interface's name. */
const UNBIND = `
device=$(readlink -f "/sys/class/net/$1/device")
echo "\${device##*/}" >"$device/driver/unbind"
`;

describe('rescue: a device that dies is replaced', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let asBooted: GuestLook;
  const table: string[] = [];

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: [FIRST, SECOND], b: [] }, log: console.log });
    vm = await lab.boot({ standby: 'virtio' });
    asBooted = await lookIntoGuest(vm);
  });

  after(async () => {
    if (table.length > 0) console.log(['outage of a rescue on this machine, ms', ...table].join('\n'));
    await lab?.dispose();
  });

  const never = new AbortController().signal;
  const siteFor = (request: SwapRequest) =>
    vmSite(request, { vm, ownership: lab.ownership, signal: deadline('asking QEMU', 30_000) });

  async function perform(asked: Partial<SwapRequest> & Pick<SwapRequest, 'with'>): Promise<MigrationResult> {
    const request = SwapRequest.parse({ vm: 'web1', kind: 'rescue', ...asked });
    const site = await siteFor(request);
    const { journal, abilities, shadows } = lab;
    const lastKnown = lastKnownShadow(shadows, 'web1', site.nic);
    const given = { site, journal, abilities, shadows, emit: () => {}, cancel: never, lastKnown };
    return swapDevice(request, given);
  }

  /** Does what is to be done, under traffic. */
  async function underTraffic(
    name: string,
    act: () => Promise<MigrationResult>,
  ): Promise<{ result: MigrationResult; seen: ProbeResult }> {
    const probes = await watchGuest(lab);
    try {
      await delay(QUIET_MS);
      const result = await act();
      await delay(QUIET_MS);
      const seen = await probes.stop();
      const { tcp, icmp } = seen.outageMs;
      table.push(
        `  ${name.padEnd(40)} TCP ${tcp.toFixed(0).padStart(5)}  ICMP ${icmp?.toFixed(0).padStart(5)}`,
      );
      return { result, seen };
    } finally {
      probes.kill();
    }
  }

  /** Takes the device away behind our back, as another program with a monitor would. */
  async function pull(): Promise<void> {
    const gone = vm.qemu.monitor.waitFor('DEVICE_DELETED', { signal: deadline('the removal', 20_000) });
    await deviceDel(vm.qemu.monitor, 'dev-net0');
    await gone.promise;
  }

  const claimed = async () => (await lab.ownership.claims('a')).map(({ device }) => device);

  async function assertRescued(
    { result, seen }: { result: MigrationResult; seen: ProbeResult },
    model: keyof typeof DRIVERS,
    device: string,
    forgotten: readonly string[] = [],
  ): Promise<void> {
    const told = JSON.stringify([result.error, result.left, result.warnings, result.marks], undefined, 1);
    assert.equal(result.ending, 'completed', told);
    assert.equal(result.kind, 'rescue');
    assertSurvived(seen);
    const name = result.continuity === 'replay' ? 'lan0' : 'lan0-d';
    assert.equal(await driverInGuest(vm, name), DRIVERS[model]);
    const look = await lookIntoGuest(vm);
    const none = Object.fromEntries(forgotten.map((section) => [section, []]));
    assert.deepEqual(look.configured, { ...asBooted.configured, ...none });
    assert.deepEqual(look.leftovers, []);
    assert.deepEqual(await claimed(), [device]);
  }

  it('a device that is alive is not rescued', { timeout: MIGRATION_MS }, async () => {
    const result = await perform({ with: 'nic1' });
    assert.equal(result.ending, 'rolled-back');
    assert.equal(result.error?.code, 'RESCUE_NEEDLESS');
    assert.deepEqual(await claimed(), ['nic0']);
  });

  it('the host pulls the device; a state that nobody saw cannot come back, one that was watched does', {
    timeout: 2 * MIGRATION_MS,
  }, async () => {
    const { devices, standby } = await siteFor(SwapRequest.parse({ vm: 'web1', with: 'nic1' }));
    const signal = deadline('the capture', 20_000);
    const shadow = await captureShadow(vm.agent, devices.old.identity, standby?.pciPath, signal);
    const outcome = await underTraffic('replay, pulled by the host', async () => {
      await pull();
      const unknown = await perform({ with: 'nic1' });
      assert.equal(unknown.error?.code, 'SHADOW_UNKNOWN');
      lab.shadows.record('web1', 'net0', shadow, 'watch');
      return perform({ with: 'nic1' });
    });
    await assertRescued(outcome, SECOND, 'nic1');
    assert.equal(outcome.result.continuity, 'replay');
    assertLosses(outcome.result, true);
  });

  it('the driver dies in the guest', { timeout: MIGRATION_MS }, async () => {
    const outcome = await underTraffic('replay, driver unbound in the guest', async () => {
      await inGuest(vm, UNBIND, ['lan0']);
      return perform({ with: 'nic0' });
    });
    await assertRescued(outcome, FIRST, 'nic0');
  });

  it('watched over: the spare comes by itself, and what was changed meanwhile comes with it', {
    timeout: MIGRATION_MS,
  }, async () => {
    const outcome = await underTraffic('replay, watched over, driver unbound', () =>
      guarded('nic1', async () => {
        await inGuest(vm, 'ip route add 198.51.100.0/24 via 10.77.0.1 dev "$1" metric 7', ['lan0']);
      }),
    );
    assert.match(await inGuest(vm, 'ip route show 198.51.100.0/24'), /dev lan0 .*metric 7/);
    await inGuest(vm, 'ip route del 198.51.100.0/24');
    await assertRescued(outcome, SECOND, 'nic1');
  });

  /** Watches over the device, changes something, waits until that is known, and unbinds the driver. */
  async function guarded(spare: string, change: () => Promise<void>): Promise<MigrationResult> {
    const request = SwapRequest.parse({ vm: 'web1', kind: 'rescue', with: spare });
    const { journal, abilities, shadows } = lab;
    const said: string[] = [];
    const armed = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const stop = new AbortController();
    const watching = guardDevice({
      ...{ request, site: await siteFor(request), journal, abilities, shadows },
      refreshMs: 500,
      emit: () => {},
      say: (line) => {
        said.push(line);
        if (/stands by/.test(line))
          armed[said.filter((each) => /stands by/.test(each)).length - 1]?.resolve();
      },
      signal: stop.signal,
    });
    try {
      await Promise.race([armed[0]?.promise, watching]);
      await change();
      await Promise.race([armed[1]?.promise, watching]);
      assert.deepEqual((await claimed()).toSorted(), ['nic0', 'nic1']);
      const carrying = await inGuest(vm, '[ -e "/sys/class/net/$1" ] && echo "$1" || echo lan0', ['lan0-d']);
      await inGuest(vm, UNBIND, [carrying.trim()]);
      const result = await watching;
      assert.ok(result !== undefined, said.join('\n'));
      return result;
    } finally {
      stop.abort();
      await watching.catch(() => {});
    }
  }

  it('an interface that is held is rescued from what is left of it', {
    timeout: 2 * MIGRATION_MS,
  }, async () => {
    const request = SwapRequest.parse({ vm: 'web1', with: 'nic0', continuity: 'hold' });
    const { journal, abilities } = lab;
    const site = await siteFor(request);
    const held = await swapDevice(request, { site, journal, abilities, emit: () => {}, cancel: never });
    assert.equal(held.ending, 'completed', held.error?.message);
    lab.shadows.forget('web1');
    const outcome = await underTraffic('hold, pulled, state unknown', async () => {
      await pull();
      return perform({ with: 'nic1', continuity: 'hold' });
    });
    await assertRescued(outcome, SECOND, 'nic1', ['neighbours']);
    assert.equal(outcome.result.continuity, 'hold');
    const warned = outcome.result.warnings.join('; ');
    assert.match(warned, /settings of the dead device itself are not known/);
    assert.match(warned, /static neighbours are not known/);
    await inGuest(vm, 'ip neighbour add 10.77.0.200 lladdr 02:00:00:00:02:00 dev lan0 nud permanent');
  });

  it('bridge: the standby carries the traffic until the spare is there', {
    timeout: 2 * MIGRATION_MS,
  }, async () => {
    const request = SwapRequest.parse({ vm: 'web1', with: 'nic0', continuity: 'bridge' });
    const { journal, abilities } = lab;
    const site = await siteFor(request);
    const bridged = await swapDevice(request, { site, journal, abilities, emit: () => {}, cancel: never });
    assert.equal(bridged.ending, 'completed', bridged.error?.message);
    const outcome = await underTraffic('bridge, watched over, driver unbound', () =>
      guarded('nic1', async () => {
        await inGuest(vm, 'ip link set dev lan0 alias "side door"');
      }),
    );
    await inGuest(vm, `ip link set dev lan0 alias "front door; it's 'quoted'"`);
    assert.equal(outcome.result.continuity, 'bridge');
    await assertRescued(outcome, SECOND, 'nic1');
  });
});
