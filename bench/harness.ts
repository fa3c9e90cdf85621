/** What all benches share: interleaved runs, rows of medians and spread, goals, a table, and the raw data on disk. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { reasonOf } from '../src/errors.ts';
import { median, ratios, type Spread, spread } from './stats.ts';

/** One measurement of one thing; a metric that this thing does not have is null. */
export interface Measurement {
  metrics: Record<string, number | null>;
  /** Why this run may say little; it counts all the same. */
  flags: string[];
  /** Everything that is kept, as JSON. */
  raw: unknown;
}

/** One of the things that are compared. */
export interface Cell {
  name: string;
  /** In a few words, for people. */
  what: string;
  measure: () => Promise<Measurement>;
}

export interface Sample {
  cell: string;
  /** From 0; samples of one round are pairs. */
  round: number;
  /** The machine's load average of one minute before the run. */
  load: number;
  /** Absent when the run failed. */
  measurement?: Measurement;
  error?: string;
}

export interface Row {
  cell: string;
  runs: number;
  failed: number;
  flagged: number;
  /** Null where no run has the metric. */
  metrics: Record<string, Spread | null>;
}

export interface Goal {
  id: string;
  /** Null when nothing was measured that says it. */
  value: number | null;
  op: '<=' | '>=';
  goal: number;
  met: boolean;
}

/**
 * Measures every cell once a round, each round beginning with another cell, so that neither a slow spell of the
 * machine nor a place in the order falls on one of them only. A run that fails is a sample with an error.
 */
export async function runInterleaved(
  cells: readonly Cell[],
  rounds: number,
  say: (line: string) => void,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (let n = 0; n < cells.length; n += 1) {
      const cell = cells[(n + round) % cells.length];
      if (cell === undefined) continue;
      const load = loadavg()[0] ?? 0;
      const base = { cell: cell.name, round, load };
      try {
        const measurement = await cell.measure();
        samples.push({ ...base, measurement });
        say(`round ${round + 1}/${rounds} ${cell.name}: ${oneLine(measurement)}`);
      } catch (error) {
        samples.push({ ...base, error: reasonOf(error) });
        say(`round ${round + 1}/${rounds} ${cell.name} FAILED: ${reasonOf(error)}`);
      }
    }
  }
  return samples;
}

function oneLine({ metrics, flags }: Measurement): string {
  const parts = Object.entries(metrics).map(([name, value]) => `${name} ${shortNumber(value)}`);
  return [...parts, ...flags.map((flag) => `(${flag})`)].join(', ');
}

/** The values of one metric of one cell, by round; null where the run failed or does not have it. */
export function series(samples: readonly Sample[], cell: string, metric: string): (number | null)[] {
  const rounds = Math.max(-1, ...samples.map(({ round }) => round)) + 1;
  return Array.from({ length: rounds }, (_, round) => {
    const sample = samples.find((each) => each.cell === cell && each.round === round);
    return sample?.measurement?.metrics[metric] ?? null;
  });
}

/** One row per cell, in the order of `cells`, with the spread of each metric. */
export function rowsOf(samples: readonly Sample[], cells: readonly string[]): Row[] {
  return cells.map((cell) => {
    const own = samples.filter((sample) => sample.cell === cell);
    const names = new Set(own.flatMap(({ measurement }) => Object.keys(measurement?.metrics ?? {})));
    const metrics = [...names].map((name): [string, Spread | null] => [
      name,
      spread(series(samples, cell, name).filter((value) => value !== null)),
    ]);
    return {
      cell,
      runs: own.length,
      failed: own.filter(({ measurement }) => measurement === undefined).length,
      flagged: own.filter(({ measurement }) => (measurement?.flags.length ?? 0) > 0).length,
      metrics: Object.fromEntries(metrics),
    };
  });
}

/** A goal for the median of one cell's metric. */
export function medianGoal(id: string, values: readonly (number | null)[], goal: number): Goal {
  return atMost(id, median(values.filter((value) => value !== null)), goal);
}

/** A goal for the median of the ratios, pair by pair. */
export function ratioGoal(
  id: string,
  of: readonly (number | null)[],
  to: readonly (number | null)[],
  goal: number,
): Goal {
  return atMost(id, median(ratios(of, to)), goal);
}

/** What was not measured does not meet its goal. */
function atMost(id: string, value: number | null, goal: number): Goal {
  const rounded = value === null ? null : Math.round(value * 1000) / 1000;
  return { id, value: rounded, op: '<=', goal, met: rounded !== null && rounded <= goal };
}

/** A goal from below; what was not measured does not meet it. */
export function atLeast(id: string, value: number | null, goal: number): Goal {
  const rounded = value === null ? null : Math.round(value * 10_000) / 10_000;
  return { id, value: rounded, op: '>=', goal, met: rounded !== null && rounded >= goal };
}

function shortNumber(value: number | null): string {
  if (value === null) return '–';
  const size = Math.abs(value);
  return value.toFixed(size < 9.95 && !Number.isInteger(value) ? 1 : 0);
}

function cellText(of: Spread | null | undefined): string {
  if (!of) return '–';
  if (of.n === 1) return shortNumber(of.median);
  return `${shortNumber(of.median)} [${shortNumber(of.min)}–${shortNumber(of.max)}]`;
}

/** The rows and goals as text: median [least–most] of each metric in the order of `columns` (metric to heading). */
export function renderTable(
  rows: readonly Row[],
  columns: Readonly<Record<string, string>>,
  goals: readonly Goal[],
): string {
  const lines = [
    ['', ...Object.values(columns), 'runs'],
    ...rows.map((row) => [
      row.cell,
      ...Object.keys(columns).map((metric) => cellText(row.metrics[metric])),
      `${row.runs}${row.failed > 0 ? `, ${row.failed} failed` : ''}${row.flagged > 0 ? `, ${row.flagged} noisy` : ''}`,
    ]),
  ];
  const widths = lines[0]?.map((_, n) => Math.max(...lines.map((line) => line[n]?.length ?? 0))) ?? [];
  const text = lines.map((line) =>
    line
      .map((word, n) => (n === 0 ? word.padEnd(widths[n] ?? 0) : word.padStart(widths[n] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  const verdicts = goals.map(
    ({ id, value, op, goal, met }) =>
      `${met ? 'met   ' : 'MISSED'}  ${id}: ${value ?? 'not measured'} ${op} ${goal}`,
  );
  return `${[...text, '', ...verdicts].join('\n')}\n`;
}

/** What the figures depend on. */
export function environment(): Record<string, string | number> {
  const cpu = cpus();
  return { kernel: release(), node: process.version, cpu: cpu[0]?.model ?? 'unknown', cpus: cpu.length };
}

/**
 * Keeps everything that was measured as JSON in `directory`, under a name that sorts by time.
 * @returns the file's path
 */
export function keepResults(directory: string, name: string, content: Record<string, unknown>): string {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${name}-${new Date().toISOString().replaceAll(':', '-')}.json`);
  writeFileSync(file, `${JSON.stringify(content, undefined, 1)}\n`);
  return file;
}
