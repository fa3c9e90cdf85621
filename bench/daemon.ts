/** What the daemon costs and withstands: idle with a hundred VMs, a journal of years, readers that do not read. */
import type { Bench } from './bench.ts';
import { IdleHost, VMS } from './daemon/idle.ts';
import { LoadedMigrations, RATE } from './daemon/loaded-migration.ts';
import { measureReaders } from './daemon/reader.ts';
import { Starts } from './daemon/start.ts';
import {
  atLeast,
  type Goal,
  type Measurement,
  medianGoal,
  ratioGoal,
  type Sample,
  series,
} from './harness.ts';
import { median } from './stats.ts';

const ENTRIES = 100_000;
const IDLE = `idle-${VMS}`;
const START = 'start-100000';
const READERS = 'stalled-readers';
/** Bytes that may wait for readers (15 of 256 KiB), and what the daemon itself needs for 10,000 events. */
const GROWTH_MB = 16;

const QUIET = 'migration-quiet';
const LOADED = 'migration-loaded';

const starts = new Starts(ENTRIES);
const emptyStarts = new Starts(0);
let idle: IdleHost | undefined;
let migrations: LoadedMigrations | undefined;

async function migrate(loaded: boolean): Promise<Measurement> {
  migrations ??= await LoadedMigrations.create();
  return migrations.measure(loaded);
}

function goals(samples: readonly Sample[]): Goal[] {
  const goal = (cell: string, metric: string, most: number) =>
    medianGoal(`${cell}: ${metric}`, series(samples, cell, metric), most);
  return [
    goal(IDLE, 'residentMB', 150),
    goal(IDLE, 'cpuPercent', 1),
    goal(START, 'startMs', 2000),
    goal(READERS, 'kept', 0),
    goal(READERS, 'missed', 0),
    goal(READERS, 'growthMB', GROWTH_MB),
    ratioGoal(
      'TCP outage, loaded by quiet',
      series(samples, LOADED, 'tcpMs'),
      series(samples, QUIET, 'tcpMs'),
      1.1,
    ),
    atLeast(
      'requests answered in a second',
      median(series(samples, LOADED, 'answeredPerSecond').filter((each) => each !== null)),
      RATE * 0.99,
    ),
  ];
}

export const daemon: Bench = {
  name: 'daemon',
  about: 'what the daemon costs with 100 VMs and 100,000 journal entries, and what it withstands',
  cells: [
    {
      name: IDLE,
      what: 'a minute after it found 100 running QEMUs again',
      measure: async () => {
        idle ??= await IdleHost.create();
        return idle.measure();
      },
    },
    {
      name: START,
      what: 'from its start until /v1/health answers',
      measure: () => starts.measure(),
    },
    { name: 'start-empty', what: 'the same with an empty journal', measure: () => emptyStarts.measure() },
    {
      name: READERS,
      what: '15 readers of events that read nothing, one that does; 10,000 events',
      measure: measureReaders,
    },
    { name: QUIET, what: 'e1000e → vmxnet3 between two daemons', measure: () => migrate(false) },
    {
      name: LOADED,
      what: `the same while the source's daemon is asked ${RATE} times a second`,
      measure: () => migrate(true),
    },
  ],
  columns: {
    residentMB: 'resident MB',
    cpuPercent: '% of a core',
    startMs: 'start ms',
    startCpuMs: 'CPU of the start, ms',
    kept: 'not dropped',
    missed: 'missed by the reader',
    growthMB: 'growth MB',
    tcpMs: 'TCP outage ms',
    icmpMs: 'ICMP outage ms',
    answeredPerSecond: 'answered/s',
    refused: '429',
    p99Ms: 'p99 ms',
  },
  goals,
  runs: 3,
  finish: async () => {
    await idle?.dispose();
    idle = undefined;
    await migrations?.dispose();
    migrations = undefined;
    await starts.dispose();
    await emptyStarts.dispose();
  },
};
