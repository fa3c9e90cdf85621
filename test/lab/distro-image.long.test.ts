/** Debian as people have it: it boots as a lab guest, its disk goes over with it, and it is the same after a reboot. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { distroGuest } from '../../src/lab/distro-guest.ts';
import { ensureDistroImage } from '../../src/lab/image/distro/image.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { needsDistroTools } from './distro.ts';
import { CACHE, inGuest, MIGRATION_MS, moveOver } from './migrating.ts';

const BUILD_MS = 400_000;

describe('a guest from Debian 13', needsDistroTools(), () => {
  let lab: Lab;
  let vm: RunningVm;

  before(
    async () => {
      lab = await Lab.create({
        cacheDir: CACHE,
        devices: { a: ['e1000e'], b: ['vmxnet3'] },
        log: console.log,
      });
      const signal = deadline('building the image', BUILD_MS);
      const image = await ensureDistroImage('trixie', { cacheDir: CACHE, log: console.log, signal });
      const started = performance.now();
      const guest = await distroGuest(lab, image, {
        manager: 'networkd',
        ipv4: { address: '10.77.0.10/24', gateway: '10.77.0.1' },
        rename: { pciPath: '0000:01:00.0', name: 'lan0' },
        interface: 'lan0',
      });
      vm = await lab.boot({ guest, memoryMiB: 512, standby: 'none' });
      // its services listen before udev has named the NIC and networkd has configured it
      await inGuest(
        vm,
        'n=0; until ip route show default | grep -q lan0 || [ $n = 100 ]; do n=$((n + 1)); sleep 0.3; done',
      );
      console.log(`ready after ${Math.round(performance.now() - started)} ms`);
    },
    { timeout: BUILD_MS + 300_000 },
  );

  after(() => lab?.dispose());

  it('is Debian with its own init, udev and manager', async () => {
    const said = await inGuest(
      vm,
      'cat /proc/1/comm; . /etc/os-release; echo "$VERSION_CODENAME"; ls /sys/class/net',
    );
    assert.deepEqual(said.trim().split('\n'), ['systemd', 'trixie', 'lan0', 'lo']);
  });

  it('takes its disk with it, and can write before and after', { timeout: MIGRATION_MS }, async () => {
    await inGuest(vm, 'echo written on the source >/root/mark; sync');
    vm = (await moveOver(lab, vm, { continuity: 'replay' })).vm;
    assert.equal(await inGuest(vm, 'cat /root/mark'), 'written on the source\n');
    await inGuest(vm, 'echo written on the destination >/root/mark; sync; echo 3 >/proc/sys/vm/drop_caches');
    assert.equal(
      await inGuest(vm, 'cat /root/mark; ls /sys/class/net'),
      'written on the destination\nlan0\nlo\n',
    );
  });
});
