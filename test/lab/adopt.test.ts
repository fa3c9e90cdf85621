/** A running interface becomes a shadow interface and is given back, under open connections, while nothing migrates. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { guestPciPath } from '../../src/hypervisor/qemu/pci.ts';
import { channelPorts, nicIds } from '../../src/hypervisor/qemu/spec.ts';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import { channelOf, type RunningVm } from '../../src/migration/vm.ts';
import { type AdoptOptions, adoptInterface, giveBackInterface } from '../../src/shadow/net/adopt.ts';
import type { Outcome } from '../../src/shadow/net/model.ts';
import {
  assertSurvived,
  CACHE,
  driverInGuest,
  type GuestLook,
  inGuest,
  lookIntoGuest,
  MIGRATION_MS,
  moveOver,
  watchConnections,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const QUIET_MS = 500;
const DIRECT = `${GUEST_INTERFACE}-d`;

/** Lost keys; a shadow interface is another interface, so its index is one of them. */
const lost = (outcomes: readonly Outcome[]): string[] =>
  outcomes.filter(({ fate }) => fate === 'lost').map(({ key }) => key);

for (const standby of ['none', 'virtio'] as const) {
  describe(`adopting, standby ${standby}`, needsNetworkRights(), () => {
    let lab: Lab;
    let vm: RunningVm;
    let probes: Probes;
    let asBooted: GuestLook;

    before(async () => {
      lab = await Lab.create({
        cacheDir: CACHE,
        devices: { a: ['e1000e'], b: ['vmxnet3'] },
        log: console.log,
      });
      vm = await lab.boot({ standby });
      probes = await watchConnections(lab);
      await delay(QUIET_MS);
      asBooted = await lookIntoGuest(vm);
    });

    after(async () => {
      probes?.kill();
      await lab?.dispose();
    });

    async function options(): Promise<AdoptOptions> {
      const [nic] = vm.qemu.spec.nics;
      assert.ok(nic);
      const { monitor } = vm.qemu;
      const { directPort, standbyPort } = nicIds(nic);
      const port = channelPorts(vm.qemu.spec, vm.qemu.directory)[0]?.guestPath;
      assert.ok(port);
      return {
        agent: vm.agent,
        channel: channelOf(vm, nic.id),
        identity: { mac: nic.mac, pciPath: await guestPciPath(monitor, directPort) },
        ...(standby === 'none' ? {} : { standbyPciPath: await guestPciPath(monitor, standbyPort) }),
        dir: '/run/shadowferry/net0',
        port,
        signal: deadline('adopting', 20_000),
      };
    }

    it('puts a bond above the device, with all that the interface carried', {
      timeout: MIGRATION_MS,
    }, async () => {
      const { changed, after: shadow, outcomes } = await adoptInterface(await options());
      assert.equal(changed, true);
      assert.equal(shadow.standIn.kind, 'bond');
      assert.deepEqual(lost(outcomes), ['link.ifindex']);
      const members = await inGuest(vm, 'cat "/sys/class/net/$1/bonding/slaves"', [GUEST_INTERFACE]);
      assert.equal(members.trim().split(' ').length, standby === 'none' ? 1 : 2);
      assert.equal(await driverInGuest(vm, DIRECT), 'e1000e');
      await hasCarrier(vm);
      const look = await lookIntoGuest(vm);
      assert.deepEqual(look.configured, asBooted.configured);
      assert.deepEqual(look.leftovers, []);
    });

    it('does nothing to one that is adopted', async () => {
      const { changed } = await adoptInterface(await options());
      assert.equal(changed, false);
    });

    it('migrates it, and its index stays', { timeout: MIGRATION_MS }, async () => {
      const continuity = standby === 'none' ? 'hold' : 'bridge';
      const moved = await moveOver(lab, vm, { continuity });
      vm = moved.vm;
      assert.deepEqual(
        moved.result.shadow.lost.filter(({ key }) =>
          /^(link|address|route|rule|neighbour|sysctl|bond)\./.test(key),
        ),
        [],
      );
    });

    it('gives it back to another device than it was taken from', { timeout: MIGRATION_MS }, async () => {
      const { changed, after: shadow, outcomes } = await giveBackInterface(await options());
      assert.equal(changed, true);
      assert.equal(shadow.standIn.kind, 'none');
      assert.deepEqual(lost(outcomes), ['link.ifindex']);
      assert.equal(await driverInGuest(vm, GUEST_INTERFACE), 'vmxnet3');
      await hasCarrier(vm);
      assert.deepEqual(await lookIntoGuest(vm), asBooted);
    });

    it('does nothing to one that was given back', async () => {
      const { changed } = await giveBackInterface(await options());
      assert.equal(changed, false);
    });

    it('no connection noticed', async () => {
      await delay(QUIET_MS);
      assertSurvived(await probes.stop());
    });
  });
}

/** Until the interface has a link; drivers that negotiate take two seconds. */
async function hasCarrier(vm: RunningVm): Promise<void> {
  await inGuest(
    vm,
    `n=0
     until [ "$(cat "/sys/class/net/$1/carrier")" = 1 ]; do
       n=$((n + 1)); [ $n -lt 100 ] || exit 1
       sleep 0.1
     done`,
    [GUEST_INTERFACE],
  );
}
