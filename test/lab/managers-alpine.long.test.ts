/**
 * A guest as Alpine has it: busybox ash as its shell, busybox ifupdown, busybox udhcpc. What it lacks is told; with
 * iproute2 and ethtool it goes over in each mode, keeps its address and its lease, and starts again as it was with
 * `--persist`. Part of `npm run test:guests`.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { alpineGuest } from '../../src/lab/alpine-guest.ts';
import { Lab } from '../../src/lab/lab.ts';
import { type DhcpServer, startDhcpServer } from '../../src/lab/network/dhcp.ts';
import { migrateInLab, watchGuest } from '../../src/lab/scenario.ts';
import { parseRequest } from '../../src/migration/request.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { giveInterfaceBack, yieldInterface } from '../../src/shadow/net/manager/manager.ts';
import { needsDistroTools } from './distro.ts';
import { managerTold, PATIENT, renewed, SLOWLY, swapOver } from './managed-guest.ts';
import { assertSurvived, CACHE, inGuest, moveOver } from './migrating.ts';

const NAME = 'eth0';
const MODELS = ['e1000e', 'vmxnet3', 'virtio-net-pci'];
/** In this order one guest goes through all of them. */
const MODES = ['replay', 'hold', 'bridge'] as const;
const MEMBERS = { replay: 0, hold: 1, bridge: 2 } as const;
/** The shortest that the server gives; busybox renews after half of it, whatever the server says. */
const LEASE_SECONDS = 120;
const STEP_MS = 240_000;

/** As Alpine's `setup-interfaces` writes it; asked for longer, as a link under an emulator is slow to come. */
const INTERFACES = `auto lo
iface lo inet loopback

auto ${NAME}
iface ${NAME} inet dhcp
	udhcpc_opts -t 10
`;

const LOOK = `
/usr/bin/ip -4 -o address show dev eth0 | sed -e 's/^[0-9]*: //' -e 's/ secondary//' -e 's/[\\\\] .*//' | sort
/usr/bin/ip -4 route show dev eth0 | sed 's/ *$//' | sort
cat /var/run/ifstate
readlink "/proc/$(cat /var/run/udhcpc.eth0.pid)/exe"
cut -d' ' -f3 "/proc/$(cat /var/run/udhcpc.eth0.pid)/stat"
exit 0
`;

const BY_HAND =
  '/usr/bin/ip address add 10.77.0.77/24 dev eth0; /usr/bin/ip route add 192.0.2.77/32 via 10.77.0.1';

const linesOf = async (vm: RunningVm) => (await inGuest(vm, LOOK)).trim().split('\n');

const MEMBERS_OF = '[ ! -d /sys/class/net/eth0/bonding ] || cat /sys/class/net/eth0/bonding/slaves';

describe('a guest as Alpine has it', { ...needsDistroTools(), timeout: 10 * STEP_MS }, () => {
  let lab: Lab;
  let vm: RunningVm;
  let dhcp: DhcpServer;
  let address: string;
  let booted: string[];
  const table: Record<string, Record<string, string | number>> = {};

  before(async () => {
    lab = await Lab.create({ cacheDir: CACHE, devices: { a: MODELS, b: MODELS }, log: console.log });
    dhcp = startDhcpServer(lab, LEASE_SECONDS);
    vm = await lab.boot({ guest: await alpineGuest(lab, INTERFACES), standby: 'virtio' });
    booted = await linesOf(vm);
    address = /inet (\S+)\//.exec(booted.join('\n'))?.[1] ?? assert.fail(booted.join('\n'));
  });

  after(async () => {
    console.table(table);
    await lab?.dispose();
  });

  const dryRun = async () =>
    (
      await migrateInLab({
        lab,
        vm,
        request: parseRequest({ vm: 'web1', destination: vm.host.name === 'a' ? 'b' : 'a', dryRun: true }),
      })
    ).result;

  async function reboot(): Promise<void> {
    const limit = deadline('the reboot of the guest', STEP_MS);
    const bootId = () => inGuest(vm, 'cat /proc/sys/kernel/random/boot_id');
    const had = await bootId();
    // as an init that ends does, after the answer
    await inGuest(vm, '(sleep 1; sync; umount /etc/network; reboot -f) >/dev/null 2>&1 </dev/null &');
    const again = async () => {
      await vm.agent.waitReady({ signal: deadline('an answer of the agent', 15_000, limit) });
      return (await bootId()) !== had;
    };
    while (!(await again().catch(() => false))) await delay(500, undefined, { signal: limit });
    await vm.agent.exec(['/bin/sh', '/usr/lib/shadowferry/announce'], {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      timeoutMs: 120_000,
      check: true,
    });
  }

  it('is busybox throughout, and the manager is named', async () => {
    const said = await inGuest(vm, 'readlink /bin/sh; readlink /proc/1/exe; /usr/bin/ip -V | cut -c1-21');
    assert.deepEqual(said.trim().split('\n'), ['busybox', '/usr/bin/busybox', 'ip utility, iproute2-']);
    const signal = deadline('telling the manager', 60_000);
    const programDir = '/run/shadowferry/look';
    const match = { mac: '52:54:00:5f:00:10', pciPath: '0000:01:00.0' };
    const plan = { interfaceName: NAME, match, standIn: 'none' } as const;
    await inGuest(vm, 'mkdir -p /run/shadowferry');
    const report = await yieldInterface(vm.agent, { programDir, plan, standbyPciPath: undefined, signal });
    assert.deepEqual([report.manager, report.client], ['ifupdown', 'udhcpc']);
    assert.deepEqual([...report.report, ...report.problems], [`ifstate=${NAME}`, 'client=running']);
    const after = await giveInterfaceBack(vm.agent, programDir, signal);
    assert.deepEqual([after.report, after.problems], [report.report, []]);
    assert.deepEqual(await linesOf(vm), booted);
  });

  it('is refused as it comes, with what to install', async () => {
    await inGuest(vm, 'cd /usr/bin; mv ip ip-kept; mv ethtool ethtool-kept; ln -s busybox ip');
    const { ending, error } = await dryRun();
    assert.deepEqual([ending, error?.code], ['rolled-back', 'GUEST_LACKS']);
    assert.match(error?.fix ?? '', /busybox.*apk add iproute2 ethtool/);
    await inGuest(vm, 'cd /usr/bin; mv ip-kept ip');
    const { warnings } = await dryRun();
    assert.ok(
      warnings.some((text) => text.includes('the guest has no ethtool')),
      warnings.join('\n'),
    );
    await inGuest(vm, 'cd /usr/bin; mv ethtool-kept ethtool');
  });

  for (const [at, mode] of MODES.entries()) {
    const model = MODELS[(at + 1) % MODELS.length];

    it(`${mode} onto ${model}, and its lease is renewed`, { timeout: STEP_MS }, async () => {
      await inGuest(vm, BY_HAND);
      const had = await linesOf(vm);
      const probes = await watchGuest(lab, undefined, address, SLOWLY);
      try {
        const device = `nic${(at + 1) % MODELS.length}`;
        const moved = await moveOver(lab, vm, { continuity: mode, device, persist: true, limits: PATIENT });
        vm = moved.vm;
        assert.deepEqual(await linesOf(vm), had);
        assert.deepEqual(managerTold(moved.result), []);
        const seen = await probes.stop();
        const { survived, opened } = seen.connections;
        table[mode] = {
          connections: `${survived} of ${opened}`,
          'outage, ms': Math.round(seen.outageMs.tcp),
        };
        assertSurvived(seen);
        const files = moved.result.nics.flatMap(({ persisted }) => persisted ?? []);
        // without udev nobody gives the bare device another name than the kernel's
        assert.deepEqual(files, mode === 'replay' ? [] : ['/etc/network/if-pre-up.d/shadowferry-net0']);
        if (mode === 'replay') {
          const told = moved.result.warnings.join('\n');
          assert.match(told, /there is no udev that would give eth0 another name/);
        }
      } finally {
        probes.kill();
      }
      await renewed(dhcp);
      assert.deepEqual(await linesOf(vm), had);
      assert.deepEqual([...new Set(dhcp.leases().map((lease) => lease.address))], [address]);
    });

    it(`${mode}: is so after a reboot of the guest`, { timeout: STEP_MS }, async () => {
      await reboot();
      const withoutMetric = (lines: string[]) => lines.map((line) => line.replace(/ metric \d+$/, ''));
      // the metric follows the interface's number
      assert.deepEqual(withoutMetric(await linesOf(vm)), withoutMetric(booted));
      const members = await inGuest(vm, MEMBERS_OF);
      assert.equal(members.split(' ').filter((name) => name.trim() !== '').length, MEMBERS[mode], members);
      const probes = await watchGuest(lab, undefined, address, SLOWLY);
      try {
        await delay(1000); // some traffic
        assertSurvived(await probes.stop());
      } finally {
        probes.kill();
      }
    });
  }

  it('is so after a swap', { timeout: STEP_MS }, async () => {
    const had = await linesOf(vm);
    const probes = await watchGuest(lab, undefined, address, SLOWLY);
    try {
      const result = await swapOver({ lab, vm }, { continuity: 'bridge', persist: true });
      assert.deepEqual(managerTold(result), []);
      assert.deepEqual(await linesOf(vm), had);
      assertSurvived(await probes.stop());
    } finally {
      probes.kill();
    }
  });
});
