/** Pairs of models × continuity modes: what `demo --from A --to B --continuity MODE` promises for every pair. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Continuity } from '../../src/shadow/net/plan-model.ts';
import {
  assertLosses,
  assertSurvived,
  CACHE,
  DRIVERS,
  driverInGuest,
  type GuestLook,
  lookAtHost,
  lookIntoGuest,
  MIGRATION_MS,
  type Model,
  moveOver,
  NOTHING,
  watchConnections,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

/**
 * One walk from model to model for each mode, there and back between the hosts. The first five steps of each go
 * round all five models, so that each is once the source and once the destination, and no two walks share a pair.
 */
const WALKS: Record<Continuity, readonly Model[]> = {
  replay: ['e1000e', 'vmxnet3', 'rtl8139', 'virtio-net-pci', 'e1000', 'e1000e', 'pcnet'],
  hold: ['e1000e', 'rtl8139', 'e1000', 'vmxnet3', 'virtio-net-pci', 'e1000e', 'tulip', 'vmxnet3'],
  bridge: ['e1000e', 'virtio-net-pci', 'vmxnet3', 'e1000', 'rtl8139', 'e1000e'],
};
const MODELS = Object.keys(DRIVERS);
const QUIET_MS = 500;

for (const [continuity, walk] of Object.entries(WALKS) as [Continuity, readonly Model[]][]) {
  describe(`continuity ${continuity}: from model to model`, needsNetworkRights(), () => {
    let lab: Lab;
    let vm: RunningVm;
    let probes: Probes;
    let asBooted: GuestLook;

    before(async () => {
      lab = await Lab.create({ cacheDir: CACHE, devices: { a: MODELS, b: MODELS }, log: console.log });
      vm = await lab.boot({ device: deviceFor(walk[0]) });
      probes = await watchConnections(lab);
      await delay(QUIET_MS); // what undisturbed traffic looks like
      asBooted = await lookIntoGuest(vm); // with a link, hence with its IPv6 link-local address
    });

    after(async () => {
      probes?.kill();
      await lab?.dispose();
    });

    for (const [at, to] of walk.entries()) {
      const from = walk[at - 1];
      if (from === undefined) continue;
      it(`${from} → ${to}`, { timeout: MIGRATION_MS }, async () => {
        const source = vm.host.name;
        const moved = await moveOver(lab, vm, { continuity, device: deviceFor(to) });
        vm = moved.vm;
        const { result } = moved;
        assert.deepEqual(result.from, { model: from, driver: DRIVERS[from] });
        assert.deepEqual(result.to, { model: to, driver: DRIVERS[to] });
        assert.equal(result.continuity, continuity);
        const direct = continuity === 'replay' ? GUEST_INTERFACE : `${GUEST_INTERFACE}-d`;
        assert.equal(await driverInGuest(vm, direct), DRIVERS[to]);
        // a shadow interface is made once, and keeps its index from then on
        assertLosses(result, continuity === 'replay' || at === 1);

        const look = await lookIntoGuest(vm);
        assert.deepEqual(look.configured, asBooted.configured);
        assert.deepEqual(look.leftovers, []);
        const made = continuity === 'replay' ? [] : [direct];
        assert.deepEqual(look.interfaces, [...asBooted.interfaces, ...made].toSorted());

        assert.deepEqual(await lookAtHost(lab, source), NOTHING);
        const there = await lookAtHost(lab, vm.host.name);
        assert.equal(there.programs.length, 1);
        assert.equal(there.taps.length, 2);
      });
    }

    it('all connections lived through all of it', async () => {
      await delay(QUIET_MS);
      assertSurvived(await probes.stop());
    });
  });
}

function deviceFor(model: Model | undefined): string {
  return `nic${MODELS.indexOf(model ?? '')}`;
}
