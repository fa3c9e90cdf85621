/** A guest whose interface a network manager has, as people have it, and how its manager and its kernel report that. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { deadline } from '../../src/base/deadline.ts';
import { distroGuest } from '../../src/lab/distro-guest.ts';
import { ensureDistroImage } from '../../src/lab/image/distro/image.ts';
import type { ManagerName } from '../../src/lab/image/distro/setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { type DhcpServer, RENEWAL_SECONDS, startDhcpServer } from '../../src/lab/network/dhcp.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import { swapDevice } from '../../src/migration/swap/engine.ts';
import { SwapRequest } from '../../src/migration/swap/request.ts';
import { vmSite } from '../../src/migration/swap/vm-site.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { CACHE, inGuest } from './migrating.ts';

export const BUILD_MS = 400_000;
export const BOOT_MS = 300_000;
export const MOVE_MS = 240_000;
/** A name that udev predicts from the PCI path: with another device in the slot it is the same. */
export const INTERFACE = 'enp1s0';
export const MODELS = ['e1000e', 'vmxnet3', 'virtio-net-pci'];

/** A guest with all its services, under an emulator, beside others. */
export const PATIENT = { agentMs: 60_000, attachMs: 60_000 };

/** For probes: a guest's own sending side backs off, and what was away for long is back late. */
export const SLOWLY = { readyMs: 30_000, finishMs: 60_000 };

export interface Guest {
  manager: ManagerName;
  ipv4: 'dhcp' | 'static';
  /** Profiles of AppArmor are enforced, and who asks the DHCP server has one: dhclient, for NetworkManager too. */
  apparmor?: boolean;
}

/** NetworkManager has a client of its own, which has no profile. */
const WITH_DHCLIENT = `mkdir -p /etc/NetworkManager/conf.d
printf '[main]\\ndhcp=dhclient\\n' >/etc/NetworkManager/conf.d/dhclient.conf`;

/** An interface, the second byte of its subnet, and who has it. */
export interface Managed {
  manager: ManagerName;
  interface: string;
  subnet: number;
}

/** The interface of a guest that has one. */
export const only = (manager: ManagerName): Managed => ({ manager, interface: INTERFACE, subnet: 77 });

/** Until the manager has the interface configured. */
const SETTLED: Record<ManagerName, string> = {
  ifupdown: 'ifquery --state "$1" | grep -q .',
  networkd: 'networkctl status "$1" | grep -q "(configured)"',
  NetworkManager: 'nmcli -g GENERAL.STATE device show "$1" | grep -q "^100"',
};

/**
 * Also until there is a carrier and the routes have noted it (`linkdown`): a manager may be done before the link is up.
 * Not configured after five minutes, it tells what there is.
 */
const CONFIGURED = `
n=0
linked() {
  [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ] || return 1
  case $(ip -4 route show dev "$1") in
    *linkdown*) return 1 ;;
    *default*) ;;
    *) return 1 ;;
  esac
}
until { SETTLED; } && linked "$1"; do
  n=$((n + 1))
  if [ $n -ge 300 ]; then
    { ip -d address; ip route; networkctl; nmcli device; nmcli connection; ifquery --state; journalctl -b -o cat -n 60; } 2>&1
    exit 0
  fi
  sleep 0.3
done
echo configured
`;

/** What an administrator adds by hand. */
const BY_HAND = `
ip address add "10.$2.0.77/24" dev "$1"
ip route add "192.0.2.$2/32" via "10.$2.0.1"
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

export interface Look {
  report: string[];
  state: string[];
}

export async function look(vm: RunningVm, { manager, interface: name }: Managed): Promise<Look> {
  const lines = async (script: string) =>
    (await inGuest(vm, `${script}\nexit 0`, [name])).split('\n').map((line) => line.trim());
  // nmcli tells several addresses in one line, in the order in which they were added
  const report = (await lines(REPORT[manager])).map((line) => line.split(' | ').toSorted().join(' | '));
  return { report, state: await lines(STATE) };
}

/** The first of its addresses that nobody added by hand. */
export const addressIn = ({ state }: Look): string =>
  state
    .map((line) => /inet (10\.\d+\.0\.(?!77\/)\d+)/.exec(line)?.[1])
    .find((address) => address !== undefined) ?? assert.fail(state.join('\n'));

/** Waits until the manager has the interface configured. */
export async function configured(vm: RunningVm, { manager, interface: name }: Managed): Promise<void> {
  const { stdout } = await vm.agent.exec(['/bin/sh', '-s', '--', name], {
    input: CONFIGURED.replace('SETTLED', SETTLED[manager]),
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    timeoutMs: BOOT_MS,
    check: true,
  });
  assert.equal(stdout, 'configured\n');
}

export async function addByHand(vm: RunningVm, { interface: name, subnet }: Managed): Promise<void> {
  await inGuest(vm, BY_HAND, [name, String(subnet)]);
}

const bootOf = (vm: RunningVm) => inGuest(vm, 'cat /proc/sys/kernel/random/boot_id');

/** Starts the guest again, and waits until all of it has come. */
export async function reboot(vm: RunningVm, managed: Managed): Promise<void> {
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
  await configured(vm, managed);
  // until the services listen
  await vm.agent.exec(['/bin/sh', '/usr/lib/shadowferry/announce'], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    timeoutMs: 120_000,
    check: true,
  });
}

/** Bounded wait for the server's next word to a client that renews its lease. */
export async function renewed(dhcp: DhcpServer): Promise<void> {
  const acks = () => dhcp.exchanges().filter((word) => word === 'DHCPACK').length;
  const [had, limit] = [acks(), deadline('the renewal of the lease', (RENEWAL_SECONDS + 90) * 1000)];
  while (acks() === had) await delay(500, undefined, { signal: limit });
}

/** What a manager could not do, or reports otherwise. */
export const managerTold = ({ warnings }: MigrationResult): string[] =>
  warnings.filter((text) =>
    /reported|DHCP server gave|did not|has not|not finished|was not|left to/.test(text),
  );

/** Another of the host's devices for the guest's only NIC. */
export async function swapOver(
  { lab, vm }: Pick<ManagedGuest, 'lab' | 'vm'>,
  asked: Omit<z.input<typeof SwapRequest>, 'vm' | 'with'>,
): Promise<MigrationResult> {
  const has = vm.qemu.spec.nics[0]?.direct?.device;
  const other = vm.host.devices().find(({ id }) => id !== has) ?? assert.fail('the host has one device');
  const request = SwapRequest.parse({ vm: vm.qemu.spec.name, with: other.id, ...asked });
  const { journal, abilities, ownership } = lab;
  const result = await swapDevice(request, {
    site: await vmSite(request, { vm, ownership, signal: deadline('asking QEMU', 30_000) }),
    journal,
    abilities,
    emit: () => {},
    cancel: new AbortController().signal,
  });
  assert.equal(result.ending, 'completed', JSON.stringify([result.error, result.left, result.warnings]));
  return result;
}

export interface ManagedGuest {
  lab: Lab;
  vm: RunningVm;
  dhcp: DhcpServer;
  /** Its first address. */
  address: string;
  /** After the boot, without what is added by hand. */
  booted: Look;
}

/** Debian 12 with all the managers, from the cache or, for minutes, from the archive. */
export function buildImage() {
  const signal = deadline('building the image', BUILD_MS);
  return ensureDistroImage('bookworm', { cacheDir: CACHE, log: console.log, signal });
}

/** A lab with a guest of Debian 12 that its manager has configured. */
export async function bootManaged(
  { manager, ipv4, apparmor = false }: Guest,
  standby: 'virtio' | 'none',
): Promise<ManagedGuest> {
  const lab = await Lab.create({ cacheDir: CACHE, devices: { a: MODELS, b: MODELS }, log: console.log });
  try {
    const dhcp = startDhcpServer(lab);
    const image = await buildImage();
    const fixed = { address: '10.77.0.10/24', gateway: '10.77.0.1' };
    const setup = {
      manager,
      ipv4: ipv4 === 'dhcp' ? ipv4 : fixed,
      interface: INTERFACE,
      ...(apparmor && manager === 'NetworkManager' ? { extra: WITH_DHCLIENT } : {}),
    };
    const guest = await distroGuest(lab, image, setup, { apparmor });
    const vm = await lab.boot({ guest, memoryMiB: 512, standby });
    await configured(vm, only(manager));
    const booted = await look(vm, only(manager));
    return { lab, vm, dhcp, address: addressIn(booted), booted };
  } catch (error) {
    await lab.dispose();
    throw error;
  }
}
