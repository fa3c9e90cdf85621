/** There and back, again and again, under open connections: nothing is lost and nothing piles up. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { guestPciPath } from '../../src/hypervisor/qemu/pci.ts';
import { nicIds } from '../../src/hypervisor/qemu/spec.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import { watchGuest } from '../../src/lab/scenario.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { attributesOf } from '../../src/shadow/net/attributes.ts';
import { captureShadow } from '../../src/shadow/net/guest.ts';
import type { Attribute } from '../../src/shadow/net/model.ts';
import { Continuity } from '../../src/shadow/net/plan-model.ts';
import {
  assertLosses,
  assertSurvived,
  CACHE,
  type GuestLook,
  lookAtHost,
  lookIntoGuest,
  MIGRATION_MS,
  moveOver,
  NOTHING,
  watchConnections,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const LONG = process.env.SHADOWFERRY_LONG === '1';
const TRIPS = LONG ? 10 : 2;
const HOW_MANY = LONG ? 'ten round trips' : 'two round trips (ten with SHADOWFERRY_LONG=1)';
const QUIET_MS = 500;

/** Another at every trip, where the interface itself is: nothing that an administrator sees by name. */
const NEW_EACH_TIME = new Set(['link.ifindex']);

for (const continuity of Continuity.options) {
  describe(`continuity ${continuity}: e1000e → vmxnet3 → e1000e`, needsNetworkRights(), () => {
    let lab: Lab;
    let vm: RunningVm;
    let probes: Probes;

    before(async () => {
      lab = await Lab.create({
        cacheDir: CACHE,
        devices: { a: ['e1000e'], b: ['vmxnet3'] },
        log: console.log,
      });
      vm = await lab.boot();
      probes = LONG ? await watchGuest(lab) : await watchConnections(lab);
      await delay(QUIET_MS);
    });

    after(async () => {
      probes?.kill();
      await lab?.dispose();
    });

    it(`${HOW_MANY} leave nothing behind and lose nothing`, {
      timeout: TRIPS * 2 * MIGRATION_MS,
    }, async () => {
      const home = await lookAtHost(lab, 'a');
      const first: { look?: GuestLook; shadow?: Attribute[] } = {};
      for (let trip = 1; trip <= TRIPS; trip += 1) {
        for (const source of ['a', 'b']) {
          const moved = await moveOver(lab, vm, { continuity });
          vm = moved.vm;
          assertLosses(moved.result, continuity === 'replay' || (trip === 1 && source === 'a'));
          assert.deepEqual(await lookAtHost(lab, source), NOTHING, `trip ${trip}, host ${source}`);
        }
        const look = await lookIntoGuest(vm);
        const shadow = await attributes(vm);
        first.look ??= look;
        first.shadow ??= shadow;
        assert.deepEqual(look, first.look, `trip ${trip}`);
        assert.deepEqual(shadow, first.shadow, `trip ${trip}`);
        assert.deepEqual(look.leftovers, []);
        assert.deepEqual(await lookAtHost(lab, 'a'), home);
      }
    });

    it('the connections that were open all the time live', async () => {
      await delay(QUIET_MS);
      assertSurvived(await probes.stop());
    });
  });
}

/** The shadow's canonical attributes as they are now. */
async function attributes(vm: RunningVm): Promise<Attribute[]> {
  const [nic] = vm.qemu.spec.nics;
  assert.ok(nic);
  const { directPort, standbyPort } = nicIds(nic);
  const [direct, standby] = [
    await guestPciPath(vm.qemu.monitor, directPort),
    await guestPciPath(vm.qemu.monitor, standbyPort),
  ];
  const identity = { mac: nic.mac, pciPath: direct };
  const shadow = await captureShadow(vm.agent, identity, standby, deadline('the capture', 15_000));
  return attributesOf(shadow).filter(({ key }) => !NEW_EACH_TIME.has(key));
}
