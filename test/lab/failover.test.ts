/** A guest whose kernel pairs the device with its standby by itself (net_failover): we use that, and make nothing. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import {
  assertLosses,
  assertSurvived,
  CACHE,
  driverInGuest,
  type GuestLook,
  inGuest,
  lookAtHost,
  lookIntoGuest,
  MIGRATION_MS,
  moveOver,
  NOTHING,
  watchConnections,
} from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const QUIET_MS = 500;

/** The member of the failover that is no virtio device. */
const PRIMARY = `
for lower in "/sys/class/net/$1"/lower_*; do
  name=\${lower##*/lower_}
  driver=$(readlink "/sys/class/net/$name/device/driver")
  [ "\${driver##*/}" = virtio_net ] || echo "$name"
done
`;

describe('a standby with failover=on, continuity auto', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let probes: Probes;
  let asBooted: GuestLook;

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: ['e1000e'], b: ['vmxnet3'] }, log: console.log });
    vm = await lab.boot({ standby: 'failover' });
    probes = await watchConnections(lab);
    await delay(QUIET_MS);
    asBooted = await lookIntoGuest(vm);
  });

  after(async () => {
    probes?.kill();
    await lab?.dispose();
  });

  async function move(expected: string): Promise<MigrationResult> {
    const source = vm.host.name;
    const moved = await moveOver(lab, vm, { continuity: 'auto' });
    vm = moved.vm;
    assert.equal(moved.result.continuity, 'bridge');
    assert.equal(moved.result.to?.driver, expected);
    const primary = (await inGuest(vm, PRIMARY, [GUEST_INTERFACE])).trim();
    assert.equal(await driverInGuest(vm, primary), expected);
    assertLosses(moved.result, false);
    assert.deepEqual(await lookAtHost(lab, source), NOTHING);
    return moved.result;
  }

  it('is there before: a master, its standby and its primary', () => {
    assert.equal(asBooted.interfaces.length, 4, asBooted.interfaces.join()); // with lo
  });

  for (const [from, to] of [
    ['e1000e', 'vmxnet3'],
    ['vmxnet3', 'e1000e'],
  ] as const) {
    it(`${from} → ${to}: the kernel's own master bridges, and no bond is made`, {
      timeout: MIGRATION_MS,
    }, async () => {
      const { decisions } = await move(to);
      assert.match(decisions.map(({ reason }) => reason).join('; '), /the guest pairs the device/);
      const look = await lookIntoGuest(vm);
      assert.deepEqual(look.configured, asBooted.configured);
      assert.equal(look.interfaces.length, asBooted.interfaces.length);
      assert.equal(
        (await inGuest(vm, 'ls /sys/class/net/*/bonding /proc/net/bonding 2>&1 || :')).match(/^\/.*:$/m),
        null,
      );
      assert.deepEqual(look.leftovers, []);
    });
  }

  it('all connections lived', async () => {
    await delay(QUIET_MS);
    assertSurvived(await probes.stop());
  });
});
