/** What the daemon costs and withstands: idle with a hundred VMs, a journal of years, readers that do not read. */
import type { Bench } from './bench.ts';
import { IdleHost, VMS } from './daemon/idle.ts';
import { measureReaders } from './daemon/reader.ts';
import { Starts } from './daemon/start.ts';
import { type Goal, medianGoal, type Sample, series } from './harness.ts';

const ENTRIES = 100_000;
const IDLE = `idle-${VMS}`;
const START = 'start-100000';
const READERS = 'stalled-readers';
/** Bytes that may wait for readers (15 of 256 KiB), and what the daemon itself needs for 10,000 events. */
const GROWTH_MB = 16;

const starts = new Starts(ENTRIES);
const emptyStarts = new Starts(0);
let idle: IdleHost | undefined;

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
  ],
  columns: {
    residentMB: 'resident MB',
    cpuPercent: '% of a core',
    startMs: 'start ms',
    startCpuMs: 'CPU of the start, ms',
    kept: 'not dropped',
    missed: 'missed by the reader',
    growthMB: 'growth MB',
  },
  goals,
  runs: 3,
  finish: async () => {
    await idle?.dispose();
    idle = undefined;
    await starts.dispose();
    await emptyStarts.dispose();
  },
};
