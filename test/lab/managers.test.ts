/**
 * Network managers as people have them, all three in one guest, each with an interface of its own from a DHCP server and
 * in another mode. None fights the replay, and each reports its interface afterwards as before. What it takes by itself
 * long is in `managers-matrix.long.test.ts` (`npm run test:guests`): static addresses, each manager in each mode,
 * renewed leases, and reboots of the guest.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { distroGuest } from '../../src/lab/distro-guest.ts';
import { ensureDistroImage } from '../../src/lab/image/distro/image.ts';
import type { ManagerName } from '../../src/lab/image/distro/setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { type DhcpServer, startDhcpServer } from '../../src/lab/network/dhcp.ts';
import type { Probes } from '../../src/lab/probe/probes.ts';
import { migrateInLab, watchGuest } from '../../src/lab/scenario.ts';
import { parseRequest } from '../../src/migration/request.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Continuity } from '../../src/shadow/net/plan-model.ts';
import { needsDistroTools } from './distro.ts';
import {
  addByHand,
  addressIn,
  BOOT_MS,
  BUILD_MS,
  configured,
  type Look,
  look,
  MOVE_MS,
  managerTold,
  PATIENT,
  SLOWLY,
} from './managed-guest.ts';
import { assertSurvived, CACHE } from './migrating.ts';

interface Nic {
  manager: ManagerName;
  interface: string;
  /** Of 10.N.0.0/24. */
  subnet: number;
  continuity: Continuity;
}

/** Names that udev predicts from the PCI path; each NIC has a slot for its device and one for its standby. */
const NICS: readonly [Nic, Nic, Nic] = [
  { manager: 'networkd', interface: 'enp1s0', subnet: 77, continuity: 'replay' },
  { manager: 'ifupdown', interface: 'enp3s0', subnet: 81, continuity: 'hold' },
  { manager: 'NetworkManager', interface: 'enp5s0', subnet: 82, continuity: 'bridge' },
];
const [FIRST, ...OTHERS] = NICS;
/** Of each set of probes; there are three in one emulated guest. */
const BULK_RATE = 50_000;

describe('three network managers, each with an interface of its own', needsDistroTools(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let dhcp: DhcpServer;

  const looks = () => Promise.all(NICS.map((nic) => look(vm, nic)));

  before(
    async () => {
      lab = await Lab.create({
        cacheDir: CACHE,
        devices: {
          a: ['e1000e', 'vmxnet3@office', 'e1000e@lab'],
          b: ['vmxnet3', 'virtio-net-pci@office', 'virtio-net-pci@lab'],
        },
        log: console.log,
      });
      dhcp = startDhcpServer(lab);
      const signal = deadline('building the image', BUILD_MS);
      const image = await ensureDistroImage('bookworm', { cacheDir: CACHE, log: console.log, signal });
      const by = ({ manager, interface: name }: Nic) => ({ manager, ipv4: 'dhcp', interface: name }) as const;
      const guest = await distroGuest(lab, image, { ...by(FIRST), others: OTHERS.map(by) });
      const nics = OTHERS.map(({ continuity }, n) => ({
        device: `nic${n + 1}`,
        standby: continuity === 'bridge' ? ('virtio' as const) : ('none' as const),
      }));
      vm = await lab.boot({ guest, cpus: 2, memoryMiB: 512, standby: 'none', nics });
      for (const nic of NICS) await configured(vm, nic);
    },
    { timeout: BUILD_MS + BOOT_MS },
  );

  after(() => lab?.dispose());

  it('keep them, as they report them, with their leases and what was added by hand', {
    timeout: MOVE_MS,
  }, async () => {
    for (const nic of NICS) await addByHand(vm, nic);
    const had: Look[] = await looks();
    const leases = () =>
      dhcp
        .leases()
        .map(({ mac, address }) => `${mac} ${address}`)
        .toSorted();
    const leased = leases();
    assert.equal(leased.length, NICS.length);
    const probes: Probes[] = [];
    try {
      for (const each of had) probes.push(await watchGuest(lab, BULK_RATE, addressIn(each), SLOWLY));
      const continuityOf = Object.fromEntries(NICS.map(({ continuity }, n) => [`net${n}`, continuity]));
      const request = parseRequest({ vm: 'web1', destination: 'b', continuityOf, limits: PATIENT });
      const { result, destinationVm } = await migrateInLab({ lab, vm, request });
      const told = JSON.stringify([result.error, result.left, result.warnings, result.marks], undefined, 1);
      assert.equal(result.ending, 'completed', told);
      vm = destinationVm ?? assert.fail(told);
      assert.deepEqual(managerTold(result), []);
      assert.deepEqual(await looks(), had);
      assert.deepEqual(leases(), leased);
      for (const each of probes) assertSurvived(await each.stop());
    } finally {
      for (const each of probes) each.kill();
    }
  });
});
