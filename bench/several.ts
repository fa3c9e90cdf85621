/**
 * Whether a second direct NIC lengthens the outage of the first: the same VM with two NICs, of which one or both are
 * direct, under the same traffic on both.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../src/base/cache-dir.ts';
import { ShadowferryError } from '../src/errors.ts';
import { guestNic } from '../src/lab/guest-setup.ts';
import { Lab } from '../src/lab/lab.ts';
import type { Probes } from '../src/lab/probe/probes.ts';
import { migrateInLab, watchGuest } from '../src/lab/scenario.ts';
import { parseRequest } from '../src/migration/request.ts';
import type { MigrationResult } from '../src/migration/result.ts';
import type { Bench } from './bench.ts';
import { type Cell, type Goal, type Measurement, ratioGoal, type Sample, series } from './harness.ts';
import { flagsOf, gapsSince, metricsOf, QUIET_MS, type Seen } from './outage.ts';

const DIRECT = { a: ['e1000e', 'e1000e@dmz'], b: ['vmxnet3', 'vmxnet3@dmz'] };
/** Of each of the four bulk streams, bytes/s: little, as there are two sets of probes. */
const BULK_RATE = 100_000;
const MEMORY_MIB = 256;

interface Case {
  continuity: 'hold' | 'replay';
  direct: 1 | 2;
}

/** From the first mark of one name to the last of another, over all NICs. */
function spanned(result: MigrationResult, from: string, to: string): number | null {
  const at = (name: string) => result.marks.filter((mark) => mark.name === name).map(({ atMs }) => atMs);
  const [starts, ends] = [at(from), at(to)];
  return starts.length === 0 || ends.length === 0 ? null : Math.max(...ends) - Math.min(...starts);
}

async function measure({ continuity, direct }: Case): Promise<Measurement> {
  await using lab = await Lab.create({ cacheDir: cacheDirectory(), devices: DIRECT, log: () => {} });
  const second =
    direct === 2
      ? ({ device: 'nic1', standby: 'none' } as const)
      : ({ device: null, network: 'dmz', standby: 'virtio' } as const);
  const vm = await lab.boot({ memoryMiB: MEMORY_MIB, standby: 'none', nics: [second] });
  const probes: Probes[] = [];
  try {
    for (const n of [0, 1]) probes.push(await watchGuest(lab, BULK_RATE, guestNic(n, n).address));
    await delay(QUIET_MS);
    const request = parseRequest({ vm: 'web1', destination: 'b', continuity, strategy: 'postcopy' });
    const { result } = await migrateInLab({ lab, vm, request });
    if (!result.ok) {
      const why = `${result.ending}: ${result.error?.message ?? 'no reason given'}`;
      throw new ShadowferryError('MIGRATION_FAILED', { why });
    }
    await delay(QUIET_MS);
    const seen: Seen[] = [];
    for (const each of probes) seen.push(await each.stop());
    // of a NIC that is not direct the outage is another matter
    const watched = seen.slice(0, direct).map(metricsOf);
    const worst = (metric: string) => Math.max(...watched.map((each) => each[metric] ?? 0));
    const { shadow: _, nics: __, progress: ___, ...kept } = result;
    return {
      metrics: {
        tcpMs: worst('tcpMs'),
        icmpMs: worst('icmpMs'),
        firstTcpMs: watched[0]?.tcpMs ?? null,
        blackoutMs: result.blackoutMs,
        leaveToGoneMs: spanned(result, 'leave asked', 'device gone'),
        plugToTrafficMs: spanned(result, 'device plugged', 'traffic on the device'),
        leaveToTrafficMs: spanned(result, 'leave asked', 'traffic on the device'),
        lateMs: worst('lateMs'),
      },
      flags: seen.flatMap(flagsOf),
      raw: { ...kept, gaps: seen.map((each) => gapsSince(each, result.startedAtMs)) },
    };
  } finally {
    for (const each of probes) each.kill();
  }
}

const MODES = ['replay', 'hold'] as const;

const cell = (continuity: Case['continuity'], direct: Case['direct']): Cell => ({
  name: `${continuity}-${direct}`,
  what: `${continuity}, two NICs of which ${direct === 1 ? 'one is' : 'both are'} direct, post-copy, ${MEMORY_MIB} MiB`,
  measure: () => measure({ continuity, direct }),
});

/** Two NICs must not double the outage. */
function goals(samples: readonly Sample[]): Goal[] {
  return MODES.flatMap((mode) =>
    (['tcpMs', 'icmpMs'] as const).map((metric) =>
      ratioGoal(
        `${mode}-two-vs-one-${metric.slice(0, -2)}`,
        series(samples, `${mode}-2`, metric),
        series(samples, `${mode}-1`, metric),
        1.6,
      ),
    ),
  );
}

export const several: Bench = {
  name: 'several',
  about: 'whether a second direct NIC lengthens the outage',
  cells: MODES.flatMap((mode) => [cell(mode, 1), cell(mode, 2)]),
  columns: {
    tcpMs: 'TCP outage ms',
    icmpMs: 'ICMP outage ms',
    firstTcpMs: "net0's TCP outage ms",
    blackoutMs: 'blackout ms',
    leaveToGoneMs: 'leave → gone ms',
    plugToTrafficMs: 'plug → traffic ms',
    leaveToTrafficMs: 'leave → traffic ms',
    lateMs: 'probe late ms',
  },
  goals,
};
