import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Cell,
  medianGoal,
  ratioGoal,
  renderTable,
  rowsOf,
  runInterleaved,
  type Sample,
  series,
} from './harness.ts';

function counting(name: string, values: (number | Error)[], order: string[] = []): Cell {
  return {
    name,
    what: name,
    measure: async () => {
      order.push(name);
      const value = values.shift();
      if (value instanceof Error) throw value;
      return { metrics: { ms: value ?? null }, flags: value === 9 ? ['machine noise'] : [], raw: {} };
    },
  };
}

test('every round measures every cell once and begins with another', async () => {
  const order: string[] = [];
  const cells = ['a', 'b', 'c'].map((name) => counting(name, [1, 2, 3], order));
  await runInterleaved(cells, 3, () => {});
  assert.deepEqual(order.join(''), 'abcbcacab');
});

test('a run that fails leaves a hole in its series, and the others go on', async () => {
  const said: string[] = [];
  const cells = [counting('a', [1, new Error('no boot'), 3]), counting('b', [4, 9, 6])];
  const samples = await runInterleaved(cells, 3, (line) => said.push(line));
  assert.deepEqual(series(samples, 'a', 'ms'), [1, null, 3]);
  assert.deepEqual(series(samples, 'b', 'ms'), [4, 9, 6]);
  const [a, b] = rowsOf(samples, ['a', 'b']);
  assert.deepEqual([a?.runs, a?.failed, a?.flagged], [3, 1, 0]);
  assert.deepEqual([b?.runs, b?.failed, b?.flagged], [3, 0, 1]);
  assert.equal(a?.metrics.ms?.median, 2);
  assert.ok(said.some((line) => line.includes('FAILED: no boot')));
});

const sample = (cell: string, round: number, ms: number): Sample => ({
  cell,
  round,
  load: 0,
  measurement: { metrics: { ms }, flags: [], raw: {} },
});

test('a ratio goal compares runs of one round', () => {
  const samples = [sample('a', 0, 13), sample('b', 0, 10), sample('b', 1, 100), sample('a', 1, 131)];
  const goal = ratioGoal('a-vs-b', series(samples, 'a', 'ms'), series(samples, 'b', 'ms'), 1.3);
  assert.deepEqual(goal, { id: 'a-vs-b', value: 1.305, op: '<=', goal: 1.3, met: false });
});

test('a median goal is met at its limit', () => {
  assert.deepEqual(medianGoal('g', [1500, 1, null, 9999], 1500), {
    id: 'g',
    value: 1500,
    op: '<=',
    goal: 1500,
    met: true,
  });
});

test('what was not measured does not meet its goal', () => {
  assert.deepEqual(medianGoal('g', [null], 1500), {
    id: 'g',
    value: null,
    op: '<=',
    goal: 1500,
    met: false,
  });
});

test('the table shows median and range, and each goal with its verdict', () => {
  const samples = [sample('a', 0, 10), sample('a', 1, 30), sample('a', 2, 20), sample('bb', 0, 5.25)];
  const text = renderTable(rowsOf(samples, ['a', 'bb', 'none']), { ms: 'outage ms' }, [
    medianGoal('a-median', series(samples, 'a', 'ms'), 15),
  ]);
  assert.equal(
    text,
    [
      '       outage ms  runs',
      'a     20 [10–30]     3',
      'bb           5.3     1',
      'none           –     0',
      '',
      'MISSED  a-median: 20 <= 15',
      '',
    ].join('\n'),
  );
});
