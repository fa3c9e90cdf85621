/** The same model on both sides: what is captured after a migration is what was captured before it, byte for byte. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { guestPciPath } from '../../src/hypervisor/qemu/pci.ts';
import { nicIds } from '../../src/hypervisor/qemu/spec.ts';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { attributesOf } from '../../src/shadow/net/attributes.ts';
import { captureShadow } from '../../src/shadow/net/guest.ts';
import type { NetShadow } from '../../src/shadow/net/model.ts';
import { CACHE, inGuest, MIGRATION_MS, moveOver } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const MODELS = ['e1000e', 'vmxnet3', 'virtio-net-pci,queues=2,rss=on'] as const;

/** All that may differ. Statistics and times are no attributes to begin with. */
const MAY_DIFFER = new Set(['link.ifindex']); // in `replay` the interface is a new one

/** Values that no driver begins with, as far as each takes them. `$1`: the device. */
const CONFIGURE: Record<(typeof MODELS)[number], string> = {
  e1000e: `
    ethtool -G "$1" rx 512 tx 1024
    ethtool -C "$1" rx-usecs 50
    ethtool -K "$1" tso off rxvlan off
    ethtool -A "$1" autoneg off rx off tx on
    ethtool -s "$1" msglvl 0x3
    ethtool --set-priv-flags "$1" s0ix-enabled on 2>/dev/null || :
    echo 2 >"/sys/class/net/$1/queues/rx-0/rps_cpus"
    echo 64 >"/sys/class/net/$1/queues/rx-0/rps_flow_cnt"
    echo 30000 >"/sys/class/net/$1/gro_flush_timeout"
    echo 2 >"/sys/class/net/$1/napi_defer_hard_irqs"
    echo 500000 >"/sys/class/net/$1/queues/tx-0/byte_queue_limits/limit_max"
    aim "$1-rx-0" 1; aim "$1-tx-0" 2`,
  vmxnet3: `
    ethtool -G "$1" rx 512 tx 1024
    ethtool -X "$1" weight 3 1
    ethtool -K "$1" lro off
    ethtool -s "$1" wol u
    for n in 0 1; do
      echo $((2 - n)) >"/sys/class/net/$1/queues/tx-$n/xps_cpus"
      echo 3 >"/sys/class/net/$1/queues/rx-$n/rps_cpus"
    done
    echo 1 >"/sys/class/net/$1/threaded"
    aim "$1-rxtx-0" 2; aim "$1-rxtx-1" 1`,
  'virtio-net-pci,queues=2,rss=on': `
    ethtool -X "$1" weight 1 7
    ethtool -X "$1" hkey 01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef
    ethtool -N "$1" rx-flow-hash udp4 sd
    ethtool -K "$1" gro off
    for n in 0 1; do echo 3 >"/sys/class/net/$1/queues/tx-$n/xps_cpus"; done
    echo 128 >"/sys/class/net/$1/queues/rx-1/rps_flow_cnt"
    for action in /proc/irq/*/virtio*-input.0; do echo 2 >"\${action%/*}/smp_affinity"; done`,
};

const SET_UP = `
aim() {
  for action in /proc/irq/*/"$1"; do
    if [ -d "$action" ]; then echo "$2" >"\${action%/*}/smp_affinity"; fi
  done
}
echo 1024 >/proc/sys/net/core/rps_sock_flow_entries
`;

/** Until the link is there; drivers that were reset take their time. */
const LINK = `
n=0
until [ "$(cat "/sys/class/net/$1/carrier")" = 1 ]; do
  n=$((n + 1)); [ $n -lt 100 ] || exit 1
  sleep 0.1
done
`;

describe('the same model on both sides', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: MODELS, b: MODELS }, log: console.log });
    vm = await lab.boot({ cpus: 2 });
  });
  after(() => lab?.dispose());

  async function capture(): Promise<NetShadow> {
    const [nic] = vm.qemu.spec.nics;
    assert.ok(nic);
    const { directPort, standbyPort } = nicIds(nic);
    const [direct, standby] = [
      await guestPciPath(vm.qemu.monitor, directPort),
      await guestPciPath(vm.qemu.monitor, standbyPort),
    ];
    const identity = { mac: nic.mac, pciPath: direct };
    return captureShadow(vm.agent, identity, standby, deadline('the capture', 15_000));
  }

  /** In canonical form: the text that is compared. */
  const canonical = (shadow: NetShadow): string =>
    attributesOf(shadow)
      .filter(({ key }) => !MAY_DIFFER.has(key))
      .map(({ key, value }) => `${key}=${value}\n`)
      .join('');

  for (const [at, model] of MODELS.entries()) {
    it(`${model}: captured before = captured after`, { timeout: 4 * MIGRATION_MS }, async () => {
      const device = `nic${at}`;
      // plugged while the guest runs, the first too: what firmware found at boot can wake the machine, for one thing
      vm = (await moveOver(lab, vm, { continuity: 'replay', device })).vm;
      await inGuest(vm, SET_UP + CONFIGURE[model] + LINK, [GUEST_INTERFACE]);
      const first = await capture();
      const moved = await moveOver(lab, vm, { continuity: 'replay', device });
      vm = moved.vm;
      const second = await capture();
      assert.equal(canonical(second), canonical(first));
      console.log(
        `${model}: ${attributesOf(first).length} attributes, ${first.driver?.tuning?.length} of them further settings`,
      );
      const { adapted, lost } = moved.result.shadow;
      // what an earlier device had and this one cannot have is told again, and is no difference between these two
      const had = new Map(attributesOf(first).map(({ key, value }) => [key, value]));
      assert.deepEqual(
        [...adapted, ...lost].filter(({ key, value }) => !MAY_DIFFER.has(key) && had.get(key) === value),
        [],
      );
      assert.deepEqual(second.unknown, first.unknown);
    });
  }
});
