/**
 * Guests as people have them: each network manager, with addresses from a DHCP server and without, in each mode. The
 * manager does not fight the replay, and reports the interface afterwards as before. Here each manager once;
 * `npm run test:guests` walks through all of it, waits for the leases to be renewed, and starts the guests again.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { distroGuest } from '../../src/lab/distro-guest.ts';
import { ensureDistroImage } from '../../src/lab/image/distro/image.ts';
import { MANAGERS, type ManagerName } from '../../src/lab/image/distro/setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { type DhcpServer, LEASE_SECONDS, startDhcpServer } from '../../src/lab/network/dhcp.ts';
import { watchGuest } from '../../src/lab/scenario.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import type { Continuity } from '../../src/shadow/net/plan-model.ts';
import { needsDistroTools } from './distro.ts';
import { assertSurvived, CACHE, inGuest, moveOver } from './migrating.ts';

const FULL = process.env.SHADOWFERRY_GUESTS === 'full';
const BUILD_MS = 400_000;
const BOOT_MS = 300_000;
const MOVE_MS = 240_000;
/** A name that udev predicts from the PCI path: with another device in the slot it is the same. */
const INTERFACE = 'enp1s0';
const MODELS = ['e1000e', 'vmxnet3', 'virtio-net-pci'];

interface Walk {
  manager: ManagerName;
  ipv4: 'dhcp' | 'static';
  /** A mode a move; once there is a shadow interface it stays. */
  modes: readonly Continuity[];
}

const ALL: readonly Walk[] = MANAGERS.flatMap((manager) =>
  (['dhcp', 'static'] as const).flatMap((ipv4) => [
    { manager, ipv4, modes: ['replay', 'hold'] as const },
    { manager, ipv4, modes: ['bridge', 'bridge'] as const },
  ]),
);

const SHORT: readonly Walk[] = [
  { manager: 'ifupdown', ipv4: 'dhcp', modes: ['replay'] },
  { manager: 'networkd', ipv4: 'dhcp', modes: ['replay'] },
  { manager: 'NetworkManager', ipv4: 'dhcp', modes: ['bridge'] },
];

/** Until the manager has the interface configured. */
const SETTLED: Record<ManagerName, string> = {
  ifupdown: 'ifquery --state "$1" | grep -q .',
  networkd: 'networkctl status "$1" | grep -q "(configured)"',
  NetworkManager: 'nmcli -g GENERAL.STATE device show "$1" | grep -q "^100"',
};

const CONFIGURED = `
n=0
until { SETTLED; } && ip -4 route show default | grep -q .; do
  n=$((n + 1)); [ $n -lt 300 ] || exit 1
  sleep 0.3
done
`;

/** What an administrator adds by hand. */
const BY_HAND = `
ip address add 10.77.0.77/24 dev "$1"
ip route add 192.0.2.0/24 via 10.77.0.1
`;

/** The manager's own words. */
const REPORT: Record<ManagerName, string> = {
  ifupdown: 'ifquery --state "$1"; systemctl is-active "ifup@$1.service"',
  networkd: 'networkctl status "$1" | grep -E "State:|Activation Policy:|Gateway:"',
  NetworkManager: 'nmcli -g GENERAL.STATE,GENERAL.CONNECTION,IP4.ADDRESS,IP4.GATEWAY device show "$1"',
};

/** Addresses and routes, free of lifetimes and of the flag for the second address of a network. */
const STATE = `
ip -4 -o address show dev "$1" | sed -e 's/^[0-9]*: //' -e 's/ secondary//' -e 's/[\\\\] .*//' | sort
ip -4 route show dev "$1" | sed 's/ *$//' | sort
`;

interface Look {
  report: string[];
  state: string[];
}

async function look(vm: RunningVm, manager: ManagerName): Promise<Look> {
  const lines = async (script: string) =>
    (await inGuest(vm, `${script}\nexit 0`, [INTERFACE])).split('\n').map((line) => line.trim());
  // nmcli tells several addresses in one line, in the order in which they were added
  const report = (await lines(REPORT[manager])).map((line) => line.split(' | ').toSorted().join(' | '));
  return { report, state: await lines(STATE) };
}

/** Waits until the manager has the interface configured. */
async function configured(vm: RunningVm, manager: ManagerName): Promise<void> {
  await vm.agent.exec(['/bin/sh', '-s', '--', INTERFACE], {
    input: CONFIGURED.replace('SETTLED', SETTLED[manager]),
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    timeoutMs: 120_000,
    check: true,
  });
}

const bootOf = (vm: RunningVm) => inGuest(vm, 'cat /proc/sys/kernel/random/boot_id');

/** Starts the guest again, and waits until all of it has come. */
async function reboot(vm: RunningVm, manager: ManagerName): Promise<void> {
  const limit = deadline('the reboot of the guest', BOOT_MS);
  const had = await bootOf(vm);
  // told after the answer, which would not come otherwise
  await inGuest(vm, 'systemd-run --quiet --on-active=1 systemctl reboot 2>/dev/null || reboot');
  const again = async () => {
    const asked = deadline('an answer of the agent', 15_000, limit);
    await vm.agent.waitReady({ signal: asked });
    return (await bootOf(vm)) !== had;
  };
  while (!(await again().catch(() => false))) await delay(1000, undefined, { signal: limit });
  await configured(vm, manager);
  // until the services listen
  await vm.agent.exec(['/bin/sh', '/usr/lib/shadowferry/announce'], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    timeoutMs: 120_000,
    check: true,
  });
}

/** Bounded wait for the server's next word to a client that renews its lease. */
async function renewed(dhcp: DhcpServer): Promise<void> {
  const acks = () => dhcp.exchanges().filter((word) => word === 'DHCPACK').length;
  const [had, limit] = [acks(), deadline('the renewal of the lease', (LEASE_SECONDS + 30) * 1000)];
  while (acks() === had) await delay(500, undefined, { signal: limit });
}

for (const { manager, ipv4, modes } of FULL ? ALL : SHORT) {
  describe(`${manager}, ${ipv4}, ${[...new Set(modes)].join(' and ')}`, needsDistroTools(), () => {
    let lab: Lab;
    let vm: RunningVm;
    let dhcp: DhcpServer;
    let booted: Look;
    let before_: Look;
    let address = '';

    before(
      async () => {
        lab = await Lab.create({ cacheDir: CACHE, devices: { a: MODELS, b: MODELS }, log: console.log });
        dhcp = startDhcpServer(lab);
        const signal = deadline('building the image', BUILD_MS);
        const image = await ensureDistroImage('bookworm', { cacheDir: CACHE, log: console.log, signal });
        const fixed = { address: '10.77.0.10/24', gateway: '10.77.0.1' };
        const guest = await distroGuest(lab, image, {
          manager,
          ipv4: ipv4 === 'dhcp' ? 'dhcp' : fixed,
          interface: INTERFACE,
        });
        vm = await lab.boot({ guest, memoryMiB: 512, standby: modes.includes('bridge') ? 'virtio' : 'none' });
        await configured(vm, manager);
        booted = await look(vm, manager);
        await inGuest(vm, BY_HAND, [INTERFACE]);
        const shown = await inGuest(vm, 'ip -4 -o address show dev "$1" primary', [INTERFACE]);
        address = /inet (10\.77\.0\.\d+)/.exec(shown)?.[1] ?? assert.fail(shown);
        before_ = await look(vm, manager);
      },
      { timeout: BUILD_MS + BOOT_MS },
    );

    after(() => lab?.dispose());

    for (const [at, continuity] of modes.entries()) {
      const device = `nic${(at + 1) % MODELS.length}`;
      it(`${continuity} onto ${MODELS[(at + 1) % MODELS.length]}`, { timeout: MOVE_MS }, async () => {
        const probes = await watchGuest(lab, undefined, address);
        try {
          const persist = FULL && at === modes.length - 1;
          const moved = await moveOver(lab, vm, { continuity, device, persist });
          vm = moved.vm;
          const told = moved.result.warnings.filter((text) =>
            /reported|DHCP server gave|did not|not finished/.test(text),
          );
          assert.deepEqual(told, []);
          const files = moved.result.nics.flatMap((nic) => nic.persisted ?? []);
          assert.equal(files.length > 2, persist, JSON.stringify([files, moved.result.warnings]));
          const now = await look(vm, manager);
          assert.deepEqual(now.report, before_.report);
          assert.deepEqual(now.state, before_.state);
          assertSurvived(await probes.stop());
        } finally {
          probes.kill();
        }
      });
    }

    const wait = { timeout: MOVE_MS, skip: FULL ? false : 'a minute: npm run test:guests' };
    it('is so a minute later, with its lease renewed', wait, async () => {
      if (ipv4 === 'dhcp') await renewed(dhcp);
      else await delay(60_000);
      assert.deepEqual(await look(vm, manager), before_);
      if (ipv4 === 'dhcp')
        assert.deepEqual([...new Set(dhcp.leases().map((lease) => lease.address))], [address]);
    });

    const boot = { timeout: BOOT_MS + MOVE_MS, skip: FULL ? false : 'boots twice: npm run test:guests' };
    it('is so after a reboot of the guest, as was asked: a bond with its members', boot, async () => {
      await reboot(vm, manager);
      const now = await look(vm, manager);
      assert.deepEqual(now.report, booted.report);
      assert.deepEqual(now.state, booted.state);
      const members = (await inGuest(vm, 'cat "/sys/class/net/$1/bonding/slaves"', [INTERFACE])).trim();
      assert.equal(members.split(' ').length, modes.includes('bridge') ? 2 : 1, members);
      const probes = await watchGuest(lab, undefined, address);
      try {
        await delay(3000);
        assertSurvived(await probes.stop());
      } finally {
        probes.kill();
      }
    });
  });
}
