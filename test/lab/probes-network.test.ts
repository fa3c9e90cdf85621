import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exec } from '../../src/base/exec.ts';
import { createLabNetwork, inNamespace, type LabNetwork } from '../../src/lab/network/network.ts';
import { processesIn } from '../../src/lab/network/processes.ts';
import { type Probes, startProbes } from '../../src/lab/probe/probes.ts';
import { GuestServices } from './guest-services.ts';
import { needsNetworkRights } from './rights.ts';

const options = needsNetworkRights();
const PARENT = fileURLToPath(new URL('./probes-parent-program.ts', import.meta.url));
const GUEST = '10.77.0.50';
const GUEST6 = 'fd77::50';

interface Bench extends AsyncDisposable {
  lab: LabNetwork;
  services: GuestServices;
}

/** A lab whose host a has the guest's addresses and services itself. */
async function bench(name: string): Promise<Bench> {
  await using undo = new AsyncDisposableStack();
  const lab = undo.use(await createLabNetwork({ id: `p${process.pid}-${name}`, hosts: ['a', 'b'] }));
  const { netns, bridge } = lab.host('a');
  // A port that keeps the bridge's carrier when the uplink has none, as a running VM's tap does.
  await exec(['ip', '-n', netns, 'link', 'add', 'vm', 'type', 'veth', 'peer', 'name', 'vm-peer']);
  await exec(['ip', '-n', netns, 'link', 'set', 'dev', 'vm-peer', 'up']);
  await exec(['ip', '-n', netns, 'link', 'set', 'dev', 'vm', 'master', bridge, 'up']);
  await exec(['ip', '-n', netns, 'addr', 'add', `${GUEST}/24`, 'dev', bridge]);
  await exec(['ip', '-n', netns, 'addr', 'add', `${GUEST6}/64`, 'dev', bridge, 'nodad']);
  const services = undo.use(await GuestServices.start(inNamespace(netns, [])));
  const owned = undo.move();
  return { lab, services, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function probesIn(lab: LabNetwork, target: string): Probes {
  return startProbes({ enter: inNamespace(lab.outside.netns, []), target, icmp: true });
}

/** Makes the guest ignore ICMP echo requests for `seconds`; one program does it, so that the time is kept. */
async function muteIcmp(lab: LabNetwork, file: string, seconds: string): Promise<void> {
  const script = 'echo 1 > "$1"; sleep "$2"; echo 0 > "$1"';
  await exec(inNamespace(lab.host('a').netns, ['sh', '-c', script, 'sh', `/proc/sys/net/${file}`, seconds]));
}

for (const [family, target, file] of [
  ['IPv4', GUEST, 'ipv4/icmp_echo_ignore_all'],
  ['IPv6', GUEST6, 'ipv6/icmp/echo_ignore_all'],
] as const) {
  test(`ICMP silence of 150 ms is measured while TCP goes on, ${family}`, options, async (t) => {
    await using here = await bench(family === 'IPv4' ? 'v4' : 'v6');
    const probes = probesIn(here.lab, target);
    await probes.ready;
    await delay(300);
    await muteIcmp(here.lab, file, '0.15');
    await delay(300);
    const { outageMs, lateMs, gaps, connections } = await probes.stop();
    const icmp = outageMs.icmp ?? Number.NaN;
    t.diagnostic(`ICMP ${icmp} ms, TCP ${outageMs.tcp.toFixed(1)} ms, late ${JSON.stringify(lateMs)}`);
    assert.ok(icmp > 145 && icmp < 165 + (lateMs.icmp ?? 0), `${icmp} ms`);
    assert.equal(gaps.icmp.filter(({ ms }) => ms > 145).length, 1);
    assert.ok(outageMs.tcp < 130 + lateMs.tcp, `${outageMs.tcp} ms`);
    assert.equal(connections.survived, 5);
    assert.equal(connections.corrupt, 0);
  });
}

test(
  'a link that is down for 200 ms is seen by every probe, and every connection survives',
  options,
  async (t) => {
    await using here = await bench('down');
    const { netns } = here.lab.host('a');
    const probes = probesIn(here.lab, GUEST);
    await probes.ready;
    await delay(1000);
    const script = 'ip link set up0 down; sleep 0.2; ip link set up0 up';
    await exec(inNamespace(netns, ['sh', '-c', script]));
    await delay(1500); // TCP tries again after a while
    const { outageMs, connections } = await probes.stop();
    const icmp = outageMs.icmp ?? Number.NaN;
    t.diagnostic(`ICMP ${icmp.toFixed(1)} ms, TCP ${outageMs.tcp.toFixed(1)} ms`);
    assert.ok(icmp >= 195 && icmp < 2000, `${icmp} ms`);
    assert.ok(outageMs.tcp >= 195 && outageMs.tcp < 2000, `${outageMs.tcp} ms`);
    for (const { kind, longestStallMs } of connections.each) {
      t.diagnostic(`${kind} stalled ${longestStallMs.toFixed(1)} ms`);
      // Buffers hide a part of it from those that send or read much.
      if (kind !== 'idle') assert.ok(longestStallMs >= 50, `${kind} ${longestStallMs} ms`);
    }
    assert.deepEqual(
      { survived: connections.survived, corrupt: connections.corrupt, outOfOrder: connections.outOfOrder },
      { survived: 5, corrupt: 0, outOfOrder: 0 },
    );
  },
);

test('probes end when the process that started them is killed', options, async () => {
  await using here = await bench('kill');
  const { netns } = here.lab.outside;
  const parent = spawn(process.execPath, [PARENT, netns, GUEST], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(parent.stdout, 'data');
  assert.equal(processesIn([netns]).length, 3);
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  const end = performance.now() + 5000;
  while (processesIn([netns]).length > 0) {
    assert.ok(performance.now() < end, 'the probes outlive their parent');
    await delay(5);
  }
});
