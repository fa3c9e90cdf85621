import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import type { FileTime, Totals } from './totals-reporter.ts';

/** What `npm test` was asked to run. */
export interface TestRequest {
  unit: boolean;
  lab: boolean;
  /** Also what takes minutes: files `….long.test.ts`. */
  long: boolean;
  /** How many lab files run at once, but for those that measure times. */
  lanes: number;
  /** Parts of paths; none means every file. */
  filters: string[];
  /** Options for node's test runner. */
  runnerOptions: string[];
}

/** @throws RangeError naming the argument that is not understood. */
export function parseArgs(args: readonly string[]): TestRequest {
  const request: TestRequest = {
    unit: true,
    lab: true,
    long: false,
    lanes: 1,
    filters: [],
    runnerOptions: [],
  };
  for (const arg of args) {
    if (arg === '--unit') request.lab = false;
    else if (arg === '--lab') request.unit = false;
    else if (arg === '--long') request.long = true;
    else if (/^--lanes=[1-9]$/.test(arg)) request.lanes = Number(arg.slice('--lanes='.length));
    else if (/^--(test|experimental-test)-/.test(arg)) request.runnerOptions.push(arg);
    else if (arg.startsWith('-')) throw new RangeError(arg);
    else request.filters.push(arg.replace(/^\.\//, ''));
  }
  return request;
}

/** One call of node's test runner. */
export interface TestPart {
  name: 'unit' | 'lab' | 'lab alone';
  files: string[];
  options: string[];
}

const isLong = (file: string): boolean => file.endsWith('.long.test.ts');

function isLab(file: string): boolean {
  return file.startsWith('test/lab/');
}

/**
 * A test, and a file, that hangs fails after its part's time, in ms, where it does not set its own. A lab test boots
 * guests on machines that may be slow and busy.
 */
const LONGEST_TEST_MS = { unit: 120_000, lab: 900_000, 'lab alone': 900_000 };

/** Lab tests that bound times from above: another VM beside them would be measured too. */
const MEASURES = /\/(network|probes|probes-network|scale)\.test\.ts$/;

/**
 * Test files at a time. One more than there are processors, as many unit tests wait for a process; of lab tests one,
 * where nobody asks for more, as their virtual machines disturb each other's times.
 */
const SIDE_BY_SIDE = { unit: availableParallelism() + 1, lab: 1, 'lab alone': 1 };

/**
 * What a failed lab test leaves open does not keep the runner. Not for the others: a process that is made to end loses
 * what it has still to tell when the runner is too busy to listen, and tests would be missing from the sums.
 */
const ENDING: Record<TestPart['name'], string[]> = {
  unit: [],
  lab: ['--test-force-exit'],
  'lab alone': ['--test-force-exit'],
};

const runnerOptions = (part: TestPart['name'], lanes = SIDE_BY_SIDE[part]): string[] => [
  `--test-concurrency=${lanes}`,
  `--test-timeout=${LONGEST_TEST_MS[part]}`,
  ...ENDING[part],
];

/**
 * Divides test files (paths from the checkout) into parts, in running order. Parts without files are left out, and so
 * are the long ones where nobody asks for them, by `--long` or by a part of their name.
 */
export function planParts(files: readonly string[], request: TestRequest): TestPart[] {
  const wanted = files
    .filter((file) =>
      request.filters.length === 0
        ? request.long || !isLong(file)
        : request.filters.some((part) => file.includes(part)),
    )
    .sort();
  const parts: TestPart[] = [];
  const unit = wanted.filter((file) => !isLab(file));
  const lab = wanted.filter(isLab);
  if (request.unit && unit.length > 0) {
    parts.push({ name: 'unit', files: unit, options: [...runnerOptions('unit'), ...request.runnerOptions] });
  }
  const alone = request.lanes === 1 ? [] : lab.filter((file) => MEASURES.test(file));
  const others = lab.filter((file) => !alone.includes(file));
  if (request.lab && others.length > 0) {
    const options = [...runnerOptions('lab', request.lanes), ...request.runnerOptions];
    parts.push({ name: 'lab', files: others, options });
  }
  if (request.lab && alone.length > 0) {
    const options = [...runnerOptions('lab alone'), ...request.runnerOptions];
    parts.push({ name: 'lab alone', files: alone, options });
  }
  return parts;
}

/** Adds the counts of several runs up. */
export function sumTotals(all: readonly Totals[]): Totals {
  const sum: Totals = { tests: 0, passed: 0, failed: 0, skipped: 0, cancelled: 0, todo: 0 };
  for (const totals of all) {
    for (const key of ['tests', 'passed', 'failed', 'skipped', 'cancelled', 'todo'] as const) {
      sum[key] += totals[key];
    }
  }
  return sum;
}

/** `212 tests: 210 passed, 0 failed, 2 skipped`; what is rare is named only when there is some. */
export function totalLine(totals: Totals): string {
  const parts = [`${totals.passed} passed`, `${totals.failed} failed`, `${totals.skipped} skipped`];
  if (totals.cancelled > 0) parts.push(`${totals.cancelled} cancelled`);
  if (totals.todo > 0) parts.push(`${totals.todo} to do`);
  return `${totals.tests} tests: ${parts.join(', ')}`;
}

/** The files that took longest, a line each, longest first; paths from `root`. */
export function slowestLines(files: readonly FileTime[], root: string, most: number): string[] {
  return files
    .toSorted((a, b) => b.ms - a.ms)
    .slice(0, most)
    .map(({ file, ms }) => `${(ms / 1000).toFixed(1).padStart(8)} s  ${relative(root, file)}`);
}
