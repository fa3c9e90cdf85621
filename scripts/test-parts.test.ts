import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { parseArgs, planParts, slowestLines, sumTotals, totalLine } from './test-parts.ts';

const FILES = [
  'test/lab/b.test.ts',
  'src/b.test.ts',
  'test/lab/a.test.ts',
  'src/a.test.ts',
  'test/repo.test.ts',
  'test/lab/c.long.test.ts',
];

const UNIT = `--test-concurrency=${availableParallelism() + 1} --test-timeout=120000`;
const LAB = '--test-concurrency=1 --test-timeout=900000 --test-force-exit';

function plan(...args: string[]): string[] {
  return planParts(FILES, parseArgs(args)).map(
    ({ name, files, options }) => `${name} [${options.join(' ')}]: ${files.join(' ')}`,
  );
}

test('units run side by side, then labs one file at a time, both sorted', () => {
  assert.deepEqual(plan(), [
    `unit [${UNIT}]: src/a.test.ts src/b.test.ts test/repo.test.ts`,
    `lab [${LAB}]: test/lab/a.test.ts test/lab/b.test.ts`,
  ]);
});

test('a part, files, and options for the runner can be chosen', () => {
  assert.deepEqual(plan('--unit', './src/a'), [`unit [${UNIT}]: src/a.test.ts`]);
  assert.deepEqual(plan('--lab', '--test-only'), [
    `lab [${LAB} --test-only]: test/lab/a.test.ts test/lab/b.test.ts`,
  ]);
  assert.deepEqual(plan('a.test.ts'), [`unit [${UNIT}]: src/a.test.ts`, `lab [${LAB}]: test/lab/a.test.ts`]);
  assert.deepEqual(plan('nothing'), []);
  assert.throws(() => plan('--labs'), new RangeError('--labs'));
});

test('lab files run side by side where that is asked for, and those that measure times alone', () => {
  const files = ['test/lab/scale.test.ts', 'test/lab/a.test.ts', 'test/lab/my-network.test.ts'];
  const parts = planParts(files, parseArgs(['--lanes=2']));
  assert.deepEqual(
    parts.map(({ name, options, files: chosen }) => [name, options[0], ...chosen]),
    [
      ['lab', '--test-concurrency=2', 'test/lab/a.test.ts', 'test/lab/my-network.test.ts'],
      ['lab alone', '--test-concurrency=1', 'test/lab/scale.test.ts'],
    ],
  );
  assert.throws(() => parseArgs(['--lanes=0']), new RangeError('--lanes=0'));
});

test('the slowest files are told first, by their paths in the checkout', () => {
  const files = [1000, 65_432, 2000].map((ms, at) => ({ file: `/root/test/${at}.test.ts`, ms }));
  assert.deepEqual(slowestLines(files, '/root', 2), [
    '    65.4 s  test/1.test.ts',
    '     2.0 s  test/2.test.ts',
  ]);
});

test('what takes long runs when it is asked for', () => {
  const short = `lab [${LAB}]: test/lab/a.test.ts test/lab/b.test.ts`;
  assert.deepEqual(plan('--lab'), [short]);
  assert.deepEqual(plan('--lab', '--long'), [`${short} test/lab/c.long.test.ts`]);
  assert.deepEqual(plan('--lab', 'lab/c.'), [`lab [${LAB}]: test/lab/c.long.test.ts`]);
});

test('totals are summed, and rare counts named only when there are some', () => {
  const totals = { tests: 3, passed: 1, failed: 1, skipped: 1, cancelled: 0, todo: 0 };
  assert.equal(totalLine(sumTotals([totals, totals])), '6 tests: 2 passed, 2 failed, 2 skipped');
  assert.equal(totalLine({ ...totals, cancelled: 1 }), '3 tests: 1 passed, 1 failed, 1 skipped, 1 cancelled');
  assert.equal(totalLine(sumTotals([])), '0 tests: 0 passed, 0 failed, 0 skipped');
});
