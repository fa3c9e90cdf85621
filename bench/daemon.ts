/** What the daemon costs and withstands: idle with a hundred VMs, a journal of years, readers that do not read. */
import type { Bench } from './bench.ts';
import { IdleHost, VMS } from './daemon/idle.ts';
import { RATE } from './daemon/load.ts';
import { type Asking, LoadedMigrations } from './daemon/loaded-migration.ts';
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
import { median, ratioInterval, ratios } from './stats.ts';

const ENTRIES = 100_000;
const IDLE = `idle-${VMS}`;
const START = 'start-100000';
const READERS = 'stalled-readers';
/** Bytes that may wait for readers (15 of 256 KiB), and what the daemon itself needs for 10,000 events. */
const GROWTH_MB = 16;

const QUIET = 'migration-quiet';
const BESIDE = 'migration-beside-load';
const LOADED = 'migration-loaded';
const LIMITED = 'migration-limited';

const starts = new Starts(ENTRIES);
const emptyStarts = new Starts(0);
let idle: IdleHost | undefined;
let migrations: LoadedMigrations | undefined;

async function migrate(asking: Asking): Promise<Measurement> {
  migrations ??= await LoadedMigrations.create();
  return migrations.measure(asking);
}

function goals(samples: readonly Sample[]): Goal[] {
  const goal = (cell: string, metric: string, most: number) =>
    medianGoal(`${cell}: ${metric}`, series(samples, cell, metric), most);
  const ratio = (of: string, to: string) => {
    const pairs = [series(samples, of, 'tcpMs'), series(samples, to, 'tcpMs')] as const;
    const spread = ratioInterval(ratios(...pairs));
    const range =
      spread === null ? '' : ` (95 %: ${spread.low.toFixed(2)} to ${spread.high.toFixed(2)}, n ${spread.n})`;
    return ratioGoal(`TCP outage, ${of} by ${to}${range}`, ...pairs, 1.1);
  };
  return [
    goal(IDLE, 'residentMB', 150),
    goal(IDLE, 'cpuPercent', 1),
    goal(START, 'startMs', 2000),
    goal(READERS, 'kept', 0),
    goal(READERS, 'missed', 0),
    goal(READERS, 'growthMB', GROWTH_MB),
    // what asking costs the machine, which also emulates both guests, is not the daemon's: its share is by the second
    ratio(LOADED, QUIET),
    ratio(LOADED, BESIDE),
    ratio(LIMITED, QUIET),
    ratio(LIMITED, BESIDE),
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
    { name: QUIET, what: 'e1000e → vmxnet3 between two daemons', measure: () => migrate('nobody') },
    {
      name: BESIDE,
      what: `the same while a server that does nothing is asked ${RATE} times a second on the same machine`,
      measure: () => migrate('nothing'),
    },
    {
      name: LOADED,
      what: `the same while the source's daemon is asked ${RATE} times a second, and may not refuse`,
      measure: () => migrate('daemon'),
    },
    {
      name: LIMITED,
      what: 'the same with the limit of requests that a daemon has by itself',
      measure: () => migrate('limited-daemon'),
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
    putOff: '503',
    p99Ms: 'p99 ms',
    askingMs: 'CPU of asking, ms',
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
