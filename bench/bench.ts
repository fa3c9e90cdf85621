/** What a bench is, and how one is run. */
import { parseArgs } from 'node:util';
import { reasonOf, ShadowferryError } from '../src/errors.ts';
import {
  type Cell,
  environment,
  type Goal,
  keepResults,
  renderTable,
  rowsOf,
  runInterleaved,
  type Sample,
} from './harness.ts';

export interface Bench {
  name: string;
  /** In one line, for the list of benches. */
  about: string;
  cells: readonly Cell[];
  /** Metric to heading, in the order of the table. */
  columns: Readonly<Record<string, string>>;
  /** What the figures should be; empty cells give goals that are not met. */
  goals: (samples: readonly Sample[]) => Goal[];
  /** How many rounds make sense; 5 when left out. */
  runs?: number;
  /** Called once after the last run, also when one failed. */
  finish?: () => Promise<void>;
}

export interface BenchOptions {
  runs: number;
  json: boolean;
  /** Names of the cells to measure; all when empty. */
  cells: readonly string[];
}

function input(field: string, problem: string): ShadowferryError {
  return new ShadowferryError('INPUT_FIELD', { field, problem });
}

/** Reads a bench's own options. @throws INPUT_FIELD naming the option that is wrong */
export function parseOptions(args: readonly string[], known: readonly string[], usual = 5): BenchOptions {
  const read = () => {
    try {
      return parseArgs({
        args: [...args],
        options: {
          runs: { type: 'string', default: String(usual) },
          cells: { type: 'string', default: '' },
          json: { type: 'boolean', default: false },
        },
      }).values;
    } catch (error) {
      throw input('command line', reasonOf(error));
    }
  };
  const { runs, cells, json } = read();
  if (!/^[1-9]\d{0,3}$/.test(runs)) throw input('--runs', `"${runs}" is not a whole number of at least 1`);
  const names = cells.split(',').filter(Boolean);
  for (const name of names) {
    if (!known.includes(name))
      throw input('--cells', `there is no "${name}"; use some of ${known.join(',')}`);
  }
  return { runs: Number(runs), json, cells: names };
}

/** The last line of `--json`. */
export function jsonLine(
  bench: string,
  rows: ReturnType<typeof rowsOf>,
  goals: readonly Goal[],
  file: string,
): string {
  return JSON.stringify({ type: 'bench', name: bench, rows, goals, raw: file });
}

/** Runs a bench: progress to stderr, the table (or one line of JSON) to stdout, everything measured to a file. */
export async function runBench(bench: Bench, options: BenchOptions, directory: string): Promise<void> {
  const cells = bench.cells.filter(({ name }) => options.cells.length === 0 || options.cells.includes(name));
  const say = (line: string) => process.stderr.write(`${line}\n`);
  for (const { name, what } of cells) say(`${name}: ${what}`);
  const startedAt = new Date().toISOString();
  let samples: Sample[];
  try {
    samples = await runInterleaved(cells, options.runs, say);
  } finally {
    await bench.finish?.();
  }
  const names = cells.map(({ name }) => name);
  const rows = rowsOf(samples, names);
  const goals = bench.goals(samples);
  const file = keepResults(directory, bench.name, {
    bench: bench.name,
    startedAt,
    environment: environment(),
    rows,
    goals,
    samples,
  });
  if (options.json) process.stdout.write(`${jsonLine(bench.name, rows, goals, file)}\n`);
  else process.stdout.write(`${renderTable(rows, bench.columns, goals)}\nAll of it: ${file}\n`);
}
