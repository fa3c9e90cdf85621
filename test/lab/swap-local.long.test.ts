/** Our command line inside a machine: a NIC under a running server gives way to another one, without any hypervisor. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { shellCommand } from '../../src/base/shell-quote.ts';
import { Lab } from '../../src/lab/lab.ts';
import { watchGuest } from '../../src/lab/scenario.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { objects } from './cli-process.ts';
import { assertSurvived, CACHE, driverInGuest, inGuest, lookIntoGuest, MIGRATION_MS } from './migrating.ts';
import { CLI_IN_GUEST, initrdWithCli } from './node-guest.ts';
import { needsNetworkRights } from './rights.ts';

const QUIET_MS = 500;

/** A second NIC as one finds it in a machine: there, and not in use. */
const FREE = `
ip link set dev lan1 down
ip address flush dev lan1
ip link set dev lan1 name spare0
basename "$(readlink -f /sys/class/net/spare0/device)"
`;
/** Compiled code is kept: that is most of a start in an emulated machine. */
const ENVIRONMENT = {
  PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  NODE_COMPILE_CACHE: '/tmp/compiled',
};
const PATH_OF = 'basename "$(readlink -f "/sys/class/net/$1/device")"';

interface Told {
  code: number;
  lines: Record<string, unknown>[];
  text: string;
}

describe('swap --local: a NIC under a running server', needsNetworkRights(), () => {
  let lab: Lab;
  let vm: RunningVm;
  let spare: string;
  const table: string[] = [];

  before(async () => {
    lab = await Lab.create({
      cacheDir: CACHE,
      // not vmxnet3: QEMU's own takes no frames for a MAC that it was given later
      devices: { a: ['e1000e', 'rtl8139'], b: [] },
      log: console.log,
    });
    const initrd = await initrdWithCli(lab.image.initrd, lab.directory);
    const begun = performance.now();
    vm = await lab.boot({
      ...{ memoryMiB: 768, initrd, standby: 'none' },
      nics: [{ device: 'nic1', standby: 'none' }],
    });
    table.push(`  boot with Node inside: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    spare = (await inGuest(vm, FREE)).trim();
  });

  after(async () => {
    if (table.length > 0) console.log(['swap --local, outage in ms on this machine', ...table].join('\n'));
    if (lab !== undefined) {
      rmSync(join(lab.directory, 'dist'), { recursive: true, force: true });
      await lab.dispose();
    }
  });

  /** Runs our command line in the guest. */
  async function cli(args: readonly string[]): Promise<Told> {
    const { code, stdout, stderr } = await vm.agent.exec(
      ['/bin/sh', '-c', `cd / && exec ${shellCommand([...CLI_IN_GUEST, ...args])}`],
      { env: ENVIRONMENT, timeoutMs: 150_000 },
    );
    return { code, lines: objects({ stdout }), text: stdout + stderr };
  }

  it('refuses a device that is in use', { timeout: 3 * MIGRATION_MS }, async () => {
    await inGuest(vm, 'ip address add 192.0.2.9/24 dev spare0');
    const used = await cli(['swap', '--local', 'lan0', '--with', 'spare0', '--json']);
    await inGuest(vm, 'ip address del 192.0.2.9/24 dev spare0');
    assert.match(used.text, /spare0 \([0-9a-f:.]+\) is in use: it has 192\.0\.2\.9/);
    assert.equal(used.code, 2, used.text);
  });

  for (const [continuity, from, to] of [
    ['replay', 'e1000e', '8139cp'],
    ['hold', '8139cp', 'e1000e'],
  ] as const) {
    it(`${continuity}: ${from} → ${to} on one machine, and every connection lives`, {
      timeout: 5 * MIGRATION_MS,
    }, async () => {
      const before = await lookIntoGuest(vm);
      const old = (await inGuest(vm, PATH_OF, ['lan0'])).trim();
      const probes = await watchGuest(lab);
      try {
        await delay(QUIET_MS);
        const args = ['swap', '--local', 'lan0', '--with', spare, '--continuity', continuity, '--json'];
        const { code, lines, text } = await cli(args);
        await delay(QUIET_MS);
        const seen = await probes.stop();
        assert.equal(code, 0, text);
        const result = lines.findLast(({ type }) => type === 'result');
        assert.equal(result?.ending, 'completed', text);
        assertSurvived(seen);
        const { tcp, icmp } = seen.outageMs;
        table.push(`  ${continuity.padEnd(7)} TCP ${tcp.toFixed(0)}  ICMP ${icmp?.toFixed(0)}`);
      } finally {
        probes.kill();
      }
      assert.equal(await driverInGuest(vm, continuity === 'replay' ? 'lan0' : 'lan0-d'), to);
      const look = await lookIntoGuest(vm);
      assert.deepEqual(look.configured, before.configured);
      assert.deepEqual(look.leftovers, []);
      // the interface has the MAC that it had, which is not the device's own
      assert.equal((await inGuest(vm, 'cat /sys/class/net/lan0/address')).trim(), '52:54:00:5f:00:10');
      spare = old; // left without a driver, and free to be pulled
      assert.equal(
        (await inGuest(vm, `ls "/sys/bus/pci/devices/${old}/driver" 2>/dev/null || echo none`)).trim(),
        'none',
      );
    });
  }
});
