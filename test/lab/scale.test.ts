/** Much of everything: 10,000 routes and 500 addresses move in seconds, and to replay them once more changes nothing. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { guestPciPath } from '../../src/hypervisor/qemu/pci.ts';
import { channelPorts } from '../../src/hypervisor/qemu/spec.ts';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { channelOf, type RunningVm } from '../../src/migration/vm.ts';
import { attributesOf } from '../../src/shadow/net/attributes.ts';
import { captureShadow, installProgram, removeProgram } from '../../src/shadow/net/guest.ts';
import type { NetShadow } from '../../src/shadow/net/model.ts';
import { planReplay } from '../../src/shadow/net/plan.ts';
import { programFiles } from '../../src/shadow/net/program.ts';
import { assertLosses, CACHE, inGuest, MIGRATION_MS, moveOver } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

const ROUTES = 10_000;
const ADDRESSES = 500;
/** What the replay may take at most, from the device's appearance to the last operation, under emulation. */
const LONGEST_REPLAY_MS = 3_000;
/**
 * On a machine that is too busy for that: as a multiple of what one process of \`ip\` with nothing else to do took for
 * the same in the same guest. The rest is the driver's, and pages that are still to come from the source.
 */
const MOST_TIMES = 3.5;
const MAC = '52:54:00:5f:00:10';
const DIRECTORY = '/run/shadowferry/again';

/** Half of the addresses are of each family; routes go through the peer, with different metrics and options. */
const CONFIGURE = `
n=0
while [ $n -lt ${ADDRESSES / 2} ]; do
  echo "address add 10.79.$((n / 200)).$((n % 200 + 1))/32 dev $1"
  printf 'address add fd79::%x/128 dev %s nodad\\n' $((n + 1)) "$1"
  n=$((n + 1))
done >/run/batch
n=0
while [ $n -lt ${ROUTES} ]; do
  echo "route add 10.$((128 + n / 256)).$((n % 256)).0/24 via 10.77.0.1 dev $1 proto static metric $((100 + n % 3)) mtu 1400"
  n=$((n + 1))
done >>/run/batch
read -r began rest </proc/uptime
ip -batch /run/batch || exit 1
read -r ended rest </proc/uptime
rm /run/batch
echo "$began $ended"
`;

const COUNT = `
ip -4 route show dev "$1" proto static | grep -c '^10[.]\\(1[2-9]\\|2\\)'
ip -o address show dev "$1" | grep -c -e ' 10[.]79[.]' -e ' fd79:'
`;

let lab: Lab;
let vm: RunningVm;
/** What configuring took in the guest, ms. */
let plainMs: number;

async function capture(): Promise<NetShadow> {
  const pciPath = await guestPciPath(vm.qemu.monitor, 'rp-net0');
  const standby = await guestPciPath(vm.qemu.monitor, 'rps-net0');
  return captureShadow(vm.agent, { mac: MAC, pciPath }, standby, deadline('capturing', 60_000));
}

const canonical = (shadow: NetShadow) => attributesOf(shadow).map(({ key, value }) => `${key} = ${value}`);

async function assertAllThere(): Promise<void> {
  const counts = (await inGuest(vm, COUNT, [GUEST_INTERFACE])).trim().split('\n').map(Number);
  assert.deepEqual(counts, [ROUTES, ADDRESSES]);
}

describe('a guest with 10,000 routes and 500 addresses', needsNetworkRights(), () => {
  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: ['e1000e'], b: ['vmxnet3'] }, log: () => {} });
    vm = await lab.boot();
    const [began = 0, ended = 0] = (await inGuest(vm, CONFIGURE, [GUEST_INTERFACE]))
      .trim()
      .split(' ')
      .map(Number);
    plainMs = (ended - began) * 1000;
    await assertAllThere();
  });
  after(async () => lab?.dispose());

  it('has them all again on another device, within seconds', { timeout: 3 * MIGRATION_MS }, async (t) => {
    const moved = await moveOver(lab, vm, { continuity: 'replay' });
    vm = moved.vm;
    const { result } = moved;
    const at = (name: string): number => {
      const mark = result.marks.find((each) => each.name === name);
      assert.ok(mark, name);
      return mark.atMs;
    };
    const replay = at('shadow replayed') - at('guest sees the device');
    const limit = Math.max(LONGEST_REPLAY_MS, MOST_TIMES * plainMs);
    t.diagnostic(
      `replayed in ${Math.round(replay)} ms; in the same guest ip alone took ${Math.round(plainMs)} ms (the limit is ${Math.round(limit)} ms)`,
    );
    await assertAllThere();
    assertLosses(result, true);
    assert.ok(replay <= limit, `the replay took ${replay} ms`);
  });

  it('does not change when all is replayed once more', { timeout: 2 * MIGRATION_MS }, async () => {
    const before = await capture();
    const plan = planReplay(before, { continuity: 'replay' });
    assert.deepEqual(plan.losses, []);
    const [port] = channelPorts(vm.qemu.spec, vm.qemu.directory);
    assert.ok(port);
    const channel = channelOf(vm, port.nic);
    const signal = deadline('the second replay', MIGRATION_MS);
    const failed: string[] = [];
    const stop = channel.onEvent((event) => {
      if (event.e !== 'op') return;
      const operation = plan.sets.attach.find(({ id }) => id === event.id);
      // what a driver cannot be told at all is as it was
      if (operation?.tool === 'ethtool' && event.err.includes('not supported')) return;
      failed.push(`${operation?.argv.join(' ')}: ${event.err}`);
    });
    const ready = channel.waitFor((event) => event.e === 'ready', signal);
    const files = programFiles({ dir: DIRECTORY, port: port.guestPath, destination: plan, source: plan });
    await installProgram(vm.agent, { dir: DIRECTORY, files, modules: [], signal });
    await ready;
    const done = channel.waitFor((event) => event.e === 'done', signal);
    const replayed = channel.waitFor((event) => event.e === 'replayed', signal);
    channel.send('attach');
    await replayed;
    await done;
    stop();
    await removeProgram(vm.agent, DIRECTORY, signal);
    assert.deepEqual(failed, []);
    assert.deepEqual(canonical(await capture()), canonical(before));
  });
});
