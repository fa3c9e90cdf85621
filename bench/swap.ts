/** How long a peer outside sees nothing of a VM whose direct device is replaced on the same host, by continuity. */
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../src/base/cache-dir.ts';
import { deadline } from '../src/base/deadline.ts';
import { ShadowferryError } from '../src/errors.ts';
import { Lab } from '../src/lab/lab.ts';
import { watchGuest } from '../src/lab/scenario.ts';
import { swapDevice } from '../src/migration/swap/engine.ts';
import { SwapRequest } from '../src/migration/swap/request.ts';
import { vmSite } from '../src/migration/swap/vm-site.ts';
import type { Continuity } from '../src/shadow/net/plan-model.ts';
import type { Bench } from './bench.ts';
import { longestAway } from './gaps.ts';
import { type Cell, type Goal, type Measurement, medianGoal, type Sample, series } from './harness.ts';

const FROM = 'e1000e';
const TO = 'vmxnet3';
/** Traffic before and after, ms: longer than the pauses of a peer whose retransmissions have backed off. */
const QUIET_MS = 700;
/** Each bulk stream, bytes/s. */
const BULK_RATE = 200_000;
/** Gaps of a connection that are closer are one outage. */
const APART_MS = 50;
const ASK_MS = 30_000;

async function measure(continuity: Continuity): Promise<Measurement> {
  await using lab = await Lab.create({
    cacheDir: cacheDirectory(),
    devices: { a: [FROM, TO], b: [] },
    log: () => {},
  });
  const vm = await lab.boot({ standby: continuity === 'bridge' ? 'virtio' : 'none' });
  const { ownership, journal, abilities } = lab;
  const request = SwapRequest.parse({ vm: 'web1', with: 'nic1', continuity });
  const site = await vmSite(request, { vm, ownership, signal: deadline('asking QEMU', ASK_MS) });
  const probes = await watchGuest(lab, BULK_RATE);
  try {
    await delay(QUIET_MS);
    const cancel = new AbortController().signal;
    const result = await swapDevice(request, { site, journal, abilities, emit: () => {}, cancel });
    await delay(QUIET_MS);
    const seen = await probes.stop();
    if (!result.ok) {
      const why = `${result.ending}: ${result.error?.message ?? 'no reason given'}`;
      throw new ShadowferryError('MIGRATION_FAILED', { why });
    }
    const at = (name: string) => result.marks.find((mark) => mark.name === name)?.atMs;
    const [left, active] = [at('leave asked'), at('traffic on the device')];
    const { shadow: _, ...kept } = result;
    return {
      metrics: {
        tcpMs: Math.max(seen.outageMs.tcp, longestAway(seen.gaps.tcp, APART_MS)),
        icmpMs: seen.outageMs.icmp,
        leaveToTrafficMs: left === undefined || active === undefined ? null : active - left,
        totalMs: result.totalMs,
        lateMs: Math.max(seen.lateMs.tcp, seen.lateMs.icmp ?? 0),
      },
      flags: seen.connections.survived === seen.connections.opened ? [] : ['a connection was lost'],
      raw: { ...kept, connections: seen.connections },
    };
  } finally {
    probes.kill();
  }
}

const cell = (continuity: Continuity): Cell => ({
  name: continuity,
  what: `${FROM} → ${TO} on one host, ${continuity}`,
  measure: () => measure(continuity),
});

function goals(samples: readonly Sample[]): Goal[] {
  return (['replay', 'hold', 'bridge'] as const).map((each) =>
    medianGoal(`${each}-tcp`, series(samples, each, 'tcpMs'), each === 'bridge' ? 400 : 1500),
  );
}

export const swap: Bench = {
  name: 'swap',
  about: 'how long a peer outside sees nothing of a VM whose device is replaced on one host, by continuity',
  cells: [cell('replay'), cell('hold'), cell('bridge')],
  columns: {
    tcpMs: 'TCP outage ms',
    icmpMs: 'ICMP outage ms',
    leaveToTrafficMs: 'leave → traffic ms',
    totalMs: 'total ms',
    lateMs: 'probe late ms',
  },
  goals,
};
