/**
 * How long a peer outside sees nothing of a VM that migrates: a plain virtio NIC moved by QEMU alone, against a direct
 * NIC moved by us in each mode of continuity, and by the VM's memory.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../src/base/cache-dir.ts';
import { ShadowferryError } from '../src/errors.ts';
import { Lab } from '../src/lab/lab.ts';
import { type Observed, observedMigration, watchGuest } from '../src/lab/scenario.ts';
import { parseRequest } from '../src/migration/request.ts';
import type { MigrationResult } from '../src/migration/result.ts';
import type { Bench } from './bench.ts';
import { longestAway } from './gaps.ts';
import {
  type Cell,
  type Goal,
  type Measurement,
  medianGoal,
  ratioGoal,
  type Sample,
  series,
} from './harness.ts';
import { migratePlain } from './plain-virtio.ts';

const FROM = 'e1000e';
const TO = 'vmxnet3';
/** Traffic before and after, ms: longer than the pauses of a peer whose retransmissions have backed off. */
export const QUIET_MS = 700;
/** Each bulk stream, bytes/s: traffic enough to disturb, little enough for an emulated guest. */
const BULK_RATE = 200_000;
const DOWNTIME_LIMIT_MS = 300;
const MODEST_MIB = 256;
const LARGE_MIB = 2048;
/** Gaps of a connection that are closer are one outage: after a loss a segment or two may pass, and then none. */
const APART_MS = 50;

export type Seen = Observed['observed'];

interface Ours {
  continuity: 'bridge' | 'hold' | 'replay';
  strategy: 'precopy' | 'postcopy' | 'auto';
  memoryMiB: number;
}

function makeLab(): Promise<Lab> {
  return Lab.create({ cacheDir: cacheDirectory(), devices: { a: [FROM], b: [TO] }, log: () => {} });
}

/** Runs in which the probes themselves were late by a large part of what they measured say little. */
export function flagsOf(seen: Seen): string[] {
  const { tcp, icmp } = seen.lateMs;
  const flag = (name: string, late: number, outage: number) =>
    late * 4 > outage ? [`${name} probe ${late.toFixed(0)} ms late`] : [];
  return [
    ...flag('TCP', tcp, seen.outageMs.tcp),
    ...(icmp === null || seen.outageMs.icmp === null ? [] : flag('ICMP', icmp, seen.outageMs.icmp)),
    ...(seen.connections.survived === seen.connections.opened ? [] : ['a connection was lost']),
  ];
}

/** The outages that a peer saw, ms. */
export function metricsOf(seen: Seen): Record<string, number | null> {
  return {
    tcpMs: Math.max(seen.outageMs.tcp, longestAway(seen.gaps.tcp, APART_MS)),
    tcpGapMs: seen.outageMs.tcp,
    icmpMs: seen.outageMs.icmp,
    lateMs: Math.max(seen.lateMs.tcp, seen.lateMs.icmp ?? 0),
  };
}

/** Gaps with times relative to the start of the migration, as its marks are. */
export function gapsSince(seen: Seen, startedAtMs: number) {
  const shift = (gaps: Seen['gaps']['tcp']) =>
    gaps.map((gap) => ({ ...gap, startMs: gap.startMs - startedAtMs }));
  return { tcp: shift(seen.gaps.tcp), icmp: shift(seen.gaps.icmp) };
}

function between(result: MigrationResult, from: string, to: string): number | null {
  const at = (name: string) => result.marks.find((mark) => mark.name === name)?.atMs;
  const [start, end] = [at(from), at(to)];
  return start === undefined || end === undefined ? null : end - start;
}

async function measureOurs({ memoryMiB, continuity, strategy }: Ours): Promise<Measurement> {
  await using lab = await makeLab();
  const vm = await lab.boot({ memoryMiB, standby: continuity === 'bridge' ? 'virtio' : 'none' });
  const limits = { downtimeLimitMs: DOWNTIME_LIMIT_MS };
  const request = parseRequest({ vm: 'web1', destination: 'b', continuity, strategy, ...limits });
  const { result, observed } = await observedMigration({
    lab,
    vm,
    request,
    quietMs: QUIET_MS,
    bulkRate: BULK_RATE,
  });
  if (!result.ok) {
    const why = `${result.ending}: ${result.error?.message ?? 'no reason given'}`;
    throw new ShadowferryError('MIGRATION_FAILED', { why });
  }
  const { shadow: _, progress: __, ...kept } = result;
  return {
    metrics: {
      ...metricsOf(observed),
      blackoutMs: result.blackoutMs,
      qemuDowntimeMs: result.qemuDowntimeMs,
      leaveToTrafficMs: between(result, 'leave asked', 'traffic on the device'),
      totalMs: result.totalMs,
      memoryMiB: result.memoryBytes / 1024 ** 2,
    },
    flags: flagsOf(observed),
    raw: { ...kept, connections: observed.connections, gaps: gapsSince(observed, result.startedAtMs) },
  };
}

async function measurePlain(memoryMiB: number): Promise<Measurement> {
  await using lab = await makeLab();
  const vm = await lab.boot({ memoryMiB, standby: 'virtio', device: null });
  const probes = await watchGuest(lab, BULK_RATE);
  try {
    await delay(QUIET_MS);
    const { memory, ...result } = await migratePlain(lab, vm, { downtimeLimitMs: DOWNTIME_LIMIT_MS });
    await delay(QUIET_MS);
    const observed = await probes.stop();
    return {
      metrics: {
        ...metricsOf(observed),
        blackoutMs: result.blackoutMs,
        qemuDowntimeMs: memory.downtime ?? null,
        leaveToTrafficMs: null,
        totalMs: result.totalMs,
        memoryMiB: (memory.ram?.transferred ?? 0) / 1024 ** 2,
      },
      flags: flagsOf(observed),
      raw: {
        ...result,
        memory,
        connections: observed.connections,
        gaps: gapsSince(observed, result.startedAtMs),
      },
    };
  } finally {
    probes.kill();
  }
}

const ours = (name: string, options: Ours): Cell => ({
  name,
  what: `${FROM} → ${TO}, ${options.continuity}, ${options.strategy}, ${options.memoryMiB} MiB`,
  measure: () => measureOurs(options),
});

const CELLS: readonly Cell[] = [
  {
    name: 'plain',
    what: `one virtio NIC, QEMU alone, pre-copy, ${MODEST_MIB} MiB`,
    measure: () => measurePlain(MODEST_MIB),
  },
  ours('bridge', { continuity: 'bridge', strategy: 'auto', memoryMiB: MODEST_MIB }),
  ours('bridge-precopy', { continuity: 'bridge', strategy: 'precopy', memoryMiB: MODEST_MIB }),
  ours('hold', { continuity: 'hold', strategy: 'postcopy', memoryMiB: MODEST_MIB }),
  ours('replay', { continuity: 'replay', strategy: 'postcopy', memoryMiB: MODEST_MIB }),
  ours('hold-2g', { continuity: 'hold', strategy: 'postcopy', memoryMiB: LARGE_MIB }),
  ours('replay-2g', { continuity: 'replay', strategy: 'postcopy', memoryMiB: LARGE_MIB }),
];

function goals(samples: readonly Sample[]): Goal[] {
  const tcp = (cell: string) => series(samples, cell, 'tcpMs');
  const icmp = (cell: string) => series(samples, cell, 'icmpMs');
  return [
    ratioGoal('bridge-vs-plain-tcp', tcp('bridge'), tcp('plain'), 1.3),
    ratioGoal('bridge-vs-plain-icmp', icmp('bridge'), icmp('plain'), 1.3),
    ratioGoal('bridge-precopy-vs-plain-tcp', tcp('bridge-precopy'), tcp('plain'), 1.3),
    ratioGoal('bridge-precopy-vs-plain-icmp', icmp('bridge-precopy'), icmp('plain'), 1.3),
    medianGoal('replay-postcopy', tcp('replay'), 1500),
    medianGoal('hold-postcopy', tcp('hold'), 1500),
    ratioGoal('replay-2g-vs-256m', tcp('replay-2g'), tcp('replay'), 1.2),
    ratioGoal('hold-2g-vs-256m', tcp('hold-2g'), tcp('hold'), 1.2),
  ];
}

export const outage: Bench = {
  name: 'outage',
  about: 'how long a peer outside sees nothing of a VM that migrates, by continuity and memory',
  cells: CELLS,
  columns: {
    tcpMs: 'TCP outage ms',
    tcpGapMs: 'longest TCP gap ms',
    icmpMs: 'ICMP outage ms',
    blackoutMs: 'blackout ms',
    qemuDowntimeMs: "QEMU's downtime ms",
    leaveToTrafficMs: 'leave → traffic ms',
    totalMs: 'total ms',
    memoryMiB: 'sent MiB',
    lateMs: 'probe late ms',
  },
  goals,
};
