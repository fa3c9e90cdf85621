/** What tests of whole migrations share: what a guest and a host look like, and what must be true after a migration. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { exec } from '../../src/base/exec.ts';
import { GUEST_ADDRESS, GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { hostOf, type Lab } from '../../src/lab/lab.ts';
import { namespaceName } from '../../src/lab/network/names.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';
import { type ProbeOptions, type ProbeResult, type Probes, UNHURRIED } from '../../src/lab/probe/probes.ts';
import { migrateInLab, watchGuest } from '../../src/lab/scenario.ts';
import { type MigrationRequest, parseRequest } from '../../src/migration/request.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import type { RunningVm } from '../../src/migration/vm.ts';

export const CACHE = process.env.SHADOWFERRY_CACHE ?? join(import.meta.dirname, '../../.cache');

/** For one migration; some drivers need two seconds to see their link. */
export const MIGRATION_MS = 60_000;

/**
 * Options of a `describe` whose suites, or tests, have each a guest of their own: two guests leave two processors less
 * idle than one. Not where times are judged. What is in such a suite goes {@link IN_ORDER}.
 */
export const SIDE_BY_SIDE = { concurrency: 2 };
export const IN_ORDER = { concurrency: 1 };

/** The driver that Linux has for a QEMU model, as `ethtool -i` names it. */
export const DRIVERS = {
  e1000e: 'e1000e',
  vmxnet3: 'vmxnet3',
  rtl8139: '8139cp',
  'virtio-net-pci': 'virtio_net',
  e1000: 'e1000',
  'e1000-82545em': 'e1000',
  i82550: 'e100',
  pcnet: 'pcnet32',
  tulip: 'tulip',
  ne2k_pci: 'ne2k-pci',
} as const;
export type Model = keyof typeof DRIVERS;

/**
 * The five connections that must live, over which little goes: probes that measure take most of an emulated guest's
 * time, which then lacks for what is tested.
 */
export function watchConnections(
  lab: Lab,
  target = GUEST_ADDRESS,
  patience: Pick<ProbeOptions, 'readyMs' | 'finishMs'> = {},
): Promise<Probes> {
  const { bulkRate, ...unhurried } = UNHURRIED;
  return watchGuest(lab, bulkRate, target, { ...unhurried, ...patience });
}

/** Runs a shell script in the guest. @throws ShadowferryError GUEST_COMMAND_FAILED */
export async function inGuest(vm: RunningVm, script: string, args: readonly string[] = []): Promise<string> {
  const { stdout } = await vm.agent.exec(['/bin/sh', '-s', '--', ...args], {
    input: `set -u\n${script}`,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    check: true,
  });
  return stdout;
}

/**
 * Sections of `@ NAME` and lines. Words in brackets keep the patterns from finding themselves, and paths are looked at
 * from above them, as several looks may run at once: none must find another.
 */
const LOOK = `
say() { printf '@ %s\\n' "$1"; }
dev=$1
say addresses; ip -o address show dev "$dev"
say routes; ip -4 route show table all dev "$dev"; ip -6 route show table all dev "$dev"
say rules; ip -4 rule; ip -6 rule
say neighbours; ip neighbour show dev "$dev" nud permanent
say qdiscs; tc qdisc show dev "$dev"
say alias; cat "/sys/class/net/$dev/ifalias"
say sysctls; cd /proc/sys/net; grep . "ipv4/conf/$dev/arp_notify" "ipv4/conf/$dev/rp_filter" "ipv6/conf/$dev/accept_ra"
say interfaces; cd /sys/class/net; ls -d */
say files; cd /run; find shadowferry systemd/network 2>/dev/null | grep -v '^shadowferry$'
say processes
for found in $(grep -l -e 'run/shadowferr[y]' -e 'monitor.lin[k]' /proc/[0-9]*/cmdline 2>/dev/null); do
  echo "$found $(tr '\\0' ' ' <"$found") $(cut -d' ' -f3,4 "\${found%cmdline}stat")"
done
exit 0
`;

export interface GuestLook {
  /** What an administrator configured, as the guest's tools print it, free of indexes and times. */
  configured: Record<string, string[]>;
  interfaces: string[];
  /** Files and processes of the replay program. */
  leftovers: string[];
}

/** Until the program, which was told to stop, has ended, and the interface has a link and its own IPv6 address. */
const CALM = `
n=0
calm() {
  if grep -q 'run/shadowferr[y]' /proc/[0-9]*/cmdline 2>/dev/null; then return 1; fi
  [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ] || return 1
  case $(ip -6 -o address show dev "$1" scope link) in
    '' | *tentative*) return 1 ;;
  esac
}
until calm "$1"; do
  n=$((n + 1)); [ $n -lt 100 ] || break
  sleep 0.1
done
`;

function tidy(section: string, line: string): string {
  return (section === 'addresses' ? line.replace(/^\d+: /, '') : line)
    .replaceAll(/\s+(nodad|linkdown|refcnt \d+|(valid|preferred)_lft forever)(?=\s|$)|\\/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

/** What the guest shows of the interface, through its own tools rather than ours. */
export async function lookIntoGuest(vm: RunningVm, dev = GUEST_INTERFACE): Promise<GuestLook> {
  const sections: Record<string, string[]> = {};
  let lines: string[] = [];
  let name = '';
  for (const line of (await inGuest(vm, CALM + LOOK, [dev])).split('\n')) {
    if (line.startsWith('@ ')) {
      name = line.slice(2);
      lines = [];
      sections[name] = lines;
    } else if (line.trim() !== '') lines.push(tidy(name, line));
  }
  const { interfaces = [], files = [], processes = [], ...configured } = sections;
  for (const each of Object.values(configured)) each.sort();
  const names = interfaces.map((each) => each.replace('/', '')).toSorted();
  return { configured, interfaces: names, leftovers: [...files, ...processes] };
}

/** The driver of an interface, as the guest's ethtool says it. */
export async function driverInGuest(vm: RunningVm, dev: string): Promise<string | undefined> {
  const text = await inGuest(vm, 'ethtool -i "$1"', [dev]);
  return /^driver: (.*)$/m.exec(text)?.[1];
}

export interface HostLook {
  /** Programs that run on the host, by name. */
  programs: string[];
  taps: string[];
  directory: boolean;
}

/** What a VM has, or has left, on a host of the lab. */
export async function lookAtHost(lab: Lab, host: string, vm = 'web1'): Promise<HostLook> {
  const netns = namespaceName(lab.id, host);
  const { stdout } = await exec(['ip', '-n', netns, '-br', 'link', 'show', 'type', 'tun']);
  return {
    programs: listLeftovers(lab.id)
      .processes.filter((process) => process.netns === netns)
      .map(({ name }) => name),
    taps: stdout
      .split('\n')
      .map((line) => line.split(' ')[0] ?? '')
      .filter(Boolean)
      .toSorted(),
    directory: existsSync(hostOf(lab, host, 'host').vmDirectory(vm)),
  };
}

export const NOTHING: HostLook = { programs: [], taps: [], directory: false };

interface MoveOptions {
  /** For its only NIC. */
  device?: string;
  persist?: boolean;
  limits?: Partial<MigrationRequest['limits']>;
}

/** Moves the lab's VM to its other host. */
export async function moveOver(
  lab: Lab,
  vm: RunningVm,
  options: Pick<MigrationRequest, 'continuity'> & MoveOptions,
): Promise<{ vm: RunningVm; result: MigrationResult }> {
  const { continuity, device, ...asked } = options;
  const request = parseRequest({
    vm: vm.qemu.spec.name,
    destination: vm.host.name === 'a' ? 'b' : 'a',
    continuity,
    ...asked,
    ...(device === undefined ? {} : { devices: { net0: device } }),
  });
  const { result, destinationVm } = await migrateInLab({ lab, vm, request });
  const told = JSON.stringify([result.error, result.left, result.warnings, result.marks], undefined, 1);
  assert.equal(result.ending, 'completed', told);
  assert.ok(destinationVm !== undefined);
  return { vm: destinationVm, result };
}

/** Attributes that nobody but the device decides: what another device does not have cannot be kept. */
const OF_THE_DEVICE =
  /^(feature|ring|channel|coalesce|pause|private-flag|wake|message|rss|flow-hash|clock|queue|irq)\./;

/** What could have been said of a loss by somebody who does not know why. */
const UNEXPLAINED = /^(it is now|it is not there|the operation failed(?!.*not supported))/;

/** Only what the device itself lacks may be lost, and each loss says why; `indexAnew` where the interface is another. */
export function assertLosses(result: MigrationResult, indexAnew: boolean): void {
  const unexpected = result.shadow.lost.filter(
    ({ key, why }) =>
      !(indexAnew && key === 'link.ifindex') && (!OF_THE_DEVICE.test(key) || UNEXPLAINED.test(why)),
  );
  assert.deepEqual(unexpected, []);
  assert.equal(
    result.shadow.captured,
    result.shadow.restored.length + result.shadow.adapted.length + result.shadow.lost.length,
  );
}

/** Every connection that was opened lives, and every byte came once, in its place and unchanged. */
export function assertSurvived({ connections }: ProbeResult): void {
  const told = JSON.stringify(connections.each, undefined, 1);
  assert.equal(connections.opened, 5, told);
  assert.equal(connections.survived, 5, told);
  assert.equal(connections.outOfOrder, 0, told);
  assert.equal(connections.corrupt, 0, told);
}
