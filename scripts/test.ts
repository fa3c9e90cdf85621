/**
 * `npm test [-- --unit | --lab] [--long] [--lanes=N] [--test-…] [filter…]`: the repository's checks, then unit tests side
 * by side, then lab tests one by one, because each runs virtual machines, or N at a time. A filter is a part of a file's path.
 * Options of node's test runner (`--test-name-pattern=…`) are passed on.
 */
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { exitCodeOf, runStep, type StepResult, seconds } from './steps.ts';
import { parseArgs, planParts, slowestLines, sumTotals, type TestRequest, totalLine } from './test-parts.ts';
import type { FileTime, Summary, Totals } from './totals-reporter.ts';

process.chdir(dirname(import.meta.dirname));
// Each test file is a process of its own, which would strip the types of the same sources again.
process.env.NODE_COMPILE_CACHE ??= resolve('.cache', 'compiled');
const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
const PATTERNS = [
  'src/**/*.test.ts',
  'scripts/**/*.test.{ts,mjs}',
  'bench/**/*.test.ts',
  'test/**/*.test.ts',
];

/** So many of the lab files are listed with their times. */
const SLOWEST = 15;

/** Both reporters: people read the first on stdout, the last lines of this program come from the second. */
function reporters(totalsFile: string): string[] {
  return [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=./scripts/totals-reporter.ts',
    `--test-reporter-destination=${totalsFile}`,
  ];
}

function readSummary(file: string): Summary[] {
  try {
    return [JSON.parse(readFileSync(file, 'utf8'))];
  } catch {
    return []; // the runner ended before it could sum up
  }
}

async function run(request: TestRequest): Promise<number> {
  const parts = planParts(globSync(PATTERNS), request);
  if (parts.length === 0) {
    console.error('no test file matches');
    return 2;
  }
  const scratch = mkdtempSync(join(tmpdir(), 'shadowferry-test-'));
  const results: StepResult[] = [];
  const totals: Totals[] = [];
  const labFiles: FileTime[] = [];
  try {
    results.push(await runStep({ name: 'imports', argv: [...node, 'scripts/check-imports.ts'] }));
    for (const { name, files, options } of parts) {
      console.log(`── ${name} tests (${files.length} files)`);
      const file = join(scratch, name);
      const argv = [...node, '--test', ...reporters(file), ...options, ...files];
      const result = await runStep({ name, argv });
      results.push(result);
      for (const summary of readSummary(file)) {
        totals.push(summary.totals);
        if (name !== 'unit') labFiles.push(...summary.files);
      }
      if (result.code > 128) break;
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  if (labFiles.length > 1) {
    console.log(
      `── lab files that took longest\n${slowestLines(labFiles, process.cwd(), SLOWEST).join('\n')}`,
    );
  }
  const times = results.map(({ name, code, ms }) => `${name} ${code === 0 ? '✓' : '✗'} ${seconds(ms)}`);
  console.log(`── ${totalLine(sumTotals(totals))} · ${times.join(' · ')}`);
  return exitCodeOf(results);
}

try {
  process.exitCode = await run(parseArgs(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof RangeError)) throw error;
  console.error(
    `unknown option ${error.message}; there are --unit, --lab, --long, --lanes=1 to 9, and those of node's test runner`,
  );
  process.exitCode = 2;
}
