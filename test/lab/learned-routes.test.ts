/**
 * An address and a default route that the guest's kernel learned from a router. The kernel's own must go on after a
 * replay: it heeds the next advertisements, and connections by way of the router live on beyond all that was replayed.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { exec } from '../../src/base/exec.ts';
import { findProgram } from '../../src/base/find-program.ts';
import { GUEST_INTERFACE } from '../../src/lab/guest-setup.ts';
import { Lab } from '../../src/lab/lab.ts';
import { DEVICE } from '../../src/lab/network/names.ts';
import { ROUTER_SECONDS, startRouter } from '../../src/lab/network/router.ts';
import { startProbes, UNHURRIED } from '../../src/lab/probe/probes.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { assertSurvived, CACHE, inGuest, MIGRATION_MS, moveOver, SIDE_BY_SIDE } from './migrating.ts';
import { needsNetworkRights } from './rights.ts';

/** A peer behind the router: answers to it go by the default route. */
const BEHIND = '2001:db8:77::1';

/** Prints the address that the kernel made of the advertised prefix, when it and the default route are there. */
const LEARNED = `
n=0
until ip -6 route show default proto ra dev "$1" | grep -q expires &&
  ip -6 -o address show dev "$1" scope global dynamic | grep -v tentative | grep -q fd77; do
  n=$((n + 1)); [ $n -lt 100 ] || exit 1
  sleep 0.2
done
ip -6 -o address show dev "$1" scope global dynamic
`;

/**
 * Follows what is left of the lifetimes of the kernel's own route and of the address, until both have grown twice: each
 * time by an advertisement. Prints what it saw.
 */
const REFRESHED = `
route='' address='' routes=0 addresses=0 n=0
while [ $routes -lt 2 ] || [ $addresses -lt 2 ]; do
  n=$((n + 1)); [ $n -lt 200 ] || break
  now=$(ip -6 route show default proto ra metric 1024 dev "$1" | sed -n 's/.*expires \\([0-9]*\\)sec.*/\\1/p')
  if [ -n "$now" ]; then
    if [ -n "$route" ] && [ "$now" -gt "$route" ]; then routes=$((routes + 1)); fi
    route=$now
  fi
  now=$(ip -6 -o address show dev "$1" to "$2" | sed -n 's/.*valid_lft \\([0-9]*\\)sec.*/\\1/p')
  if [ -n "$now" ]; then
    if [ -n "$address" ] && [ "$now" -gt "$address" ]; then addresses=$((addresses + 1)); fi
    address=$now
  fi
  sleep 0.3
done
echo "route $routes address $addresses"
ip -6 route show default dev "$1" >&2
`;

const needsRouter = (): { skip: string | false } =>
  findProgram('dnsmasq') === undefined ? { skip: 'needs dnsmasq' } : needsNetworkRights();

/** A guest that learned its address from a router outside, which has a peer behind it. */
async function bootBehindRouter(): Promise<{ lab: Lab; vm: RunningVm; address: string }> {
  const lab = await Lab.create({
    cacheDir: CACHE,
    devices: { a: ['e1000e'], b: ['vmxnet3'] },
    log: console.log,
  });
  try {
    startRouter(lab);
    const vm = await lab.boot({
      standby: 'none',
      setup: {
        plain: true,
        extra: '$ip -6 route delete default; $ip -6 address delete fd77::10/64 dev "$dev"',
      },
    });
    const shown = await inGuest(vm, LEARNED, [GUEST_INTERFACE]);
    const address = /inet6 (fd77:\S+)\/64/.exec(shown)?.[1] ?? assert.fail(shown);
    await exec(lab.outside(['ip', 'address', 'add', `${BEHIND}/128`, 'dev', 'lo']));
    await exec(lab.outside(['ip', 'route', 'add', `${address}/128`, 'dev', DEVICE.switch, 'src', BEHIND]));
    return { lab, vm, address };
  } catch (error) {
    await lab.dispose();
    throw error;
  }
}

// most of the time is spent on waiting for advertisements and for the end of what was replayed
describe('what a router advertises', { ...needsRouter(), ...SIDE_BY_SIDE }, () => {
  for (const continuity of ['replay', 'hold'] as const) {
    it(`${continuity}: is heeded again, and connections by way of the router live`, {
      timeout: 3 * MIGRATION_MS,
    }, async () => {
      const { lab, vm, address } = await bootBehindRouter();
      const probes = startProbes({ ...UNHURRIED, enter: lab.outside([]), target: address });
      try {
        await probes.ready;
        const moved = await moveOver(lab, vm, { continuity });
        const began = Date.now();
        const { lost } = moved.result.shadow;
        assert.deepEqual(
          lost.filter(({ key }) => /^(route|address)\./.test(key)),
          [],
        );
        const { agent } = moved.vm;
        const { stdout, stderr } = await agent.exec(['/bin/sh', '-s', '--', GUEST_INTERFACE, address], {
          input: REFRESHED,
          env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
          timeoutMs: MIGRATION_MS + 30_000,
          check: true,
        });
        assert.match(stdout, /^route ([2-9]|\d\d+) address ([2-9]|\d\d+)\n$/, stderr);
        // beyond what was replayed
        const left = began + ROUTER_SECONDS * 1000 - Date.now();
        if (left > 0) await inGuest(moved.vm, 'sleep "$1"', [String(Math.ceil(left / 1000))]);
        assert.match(await inGuest(moved.vm, 'ip -6 route get "$1"', [BEHIND]), /via fe80::1 .*metric 1024/);
        assertSurvived(await probes.stop());
      } finally {
        probes.kill();
        await lab.dispose();
      }
    });
  }
});
