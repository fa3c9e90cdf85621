/**
 * Guests as people have them: each network manager once, with addresses from a DHCP server. The manager does not fight
 * the replay, and reports the interface afterwards as before. All combinations, renewed leases and reboots of the guest
 * are in `managers-matrix.long.test.ts` (`npm run test:guests`).
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ManagerName } from '../../src/lab/image/distro/setup.ts';
import type { Continuity } from '../../src/shadow/net/plan-model.ts';
import { needsDistroTools } from './distro.ts';
import {
  addByHand,
  BOOT_MS,
  BUILD_MS,
  bootManaged,
  buildImage,
  look,
  type ManagedGuest,
  MODELS,
  MOVE_MS,
  managerTold,
  only,
  PATIENT,
  SLOWLY,
} from './managed-guest.ts';
import { assertSurvived, IN_ORDER, moveOver, SIDE_BY_SIDE, watchConnections } from './migrating.ts';

const WALKS: readonly (readonly [ManagerName, Continuity])[] = [
  ['ifupdown', 'replay'],
  ['networkd', 'replay'],
  ['NetworkManager', 'bridge'],
];

describe('network managers', { ...needsDistroTools(), ...SIDE_BY_SIDE }, () => {
  // once, not for each guest
  before(buildImage, { timeout: BUILD_MS });

  for (const [manager, continuity] of WALKS) {
    describe(`${manager}, dhcp, ${continuity}`, IN_ORDER, () => {
      const nic = only(manager);
      let guest: ManagedGuest;

      before(
        async () => {
          guest = await bootManaged({ manager, ipv4: 'dhcp' }, continuity === 'bridge' ? 'virtio' : 'none');
        },
        { timeout: BOOT_MS },
      );
      after(() => guest?.lab.dispose());

      it(`${continuity} onto ${MODELS[1]}`, { timeout: MOVE_MS }, async () => {
        await addByHand(guest.vm, nic);
        const had = await look(guest.vm, nic);
        const probes = await watchConnections(guest.lab, guest.address, SLOWLY);
        try {
          const moved = await moveOver(guest.lab, guest.vm, { continuity, device: 'nic1', limits: PATIENT });
          guest.vm = moved.vm;
          assert.deepEqual(managerTold(moved.result), []);
          assert.deepEqual(await look(moved.vm, nic), had);
          assertSurvived(await probes.stop());
        } finally {
          probes.kill();
        }
      });
    });
  }
});
