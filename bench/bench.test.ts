import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseOptions, runBench } from './bench.ts';
import { medianGoal, series } from './harness.ts';

test('a bench runs five times unless told, with all its cells', () => {
  assert.deepEqual(parseOptions([], ['a']), { runs: 5, json: false, cells: [] });
  assert.deepEqual(parseOptions(['--runs', '3', '--cells', 'a,b', '--json'], ['a', 'b', 'c']), {
    runs: 3,
    json: true,
    cells: ['a', 'b'],
  });
});

for (const args of [['--runs', '0'], ['--runs', 'x'], ['--cells', 'q'], ['--nothing'], ['word']]) {
  test(`"${args.join(' ')}" is refused as input`, () => {
    assert.throws(() => parseOptions(args, ['a']), { code: 'INPUT_FIELD' });
  });
}

test('everything measured is kept, failed runs too', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-bench-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const written: string[] = [];
  t.mock.method(process.stdout, 'write', (text: string) => written.push(text) > 0);
  t.mock.method(process.stderr, 'write', () => true);
  let round = 0;
  const measure = async () => {
    round += 1;
    if (round === 2) throw new Error('no boot');
    return { metrics: { ms: round }, flags: [], raw: { round } };
  };
  const bench = {
    name: 'made-up',
    about: '',
    cells: [{ name: 'a', what: '', measure }],
    columns: { ms: 'ms' },
    goals: (samples: Parameters<typeof series>[0]) => [medianGoal('g', series(samples, 'a', 'ms'), 2)],
  };
  await runBench(bench, { runs: 3, json: true, cells: [] }, directory);
  t.mock.restoreAll();
  const line = JSON.parse(written.join(''));
  assert.deepEqual(line.goals, [{ id: 'g', value: 2, op: '<=', goal: 2, met: true }]);
  assert.equal(line.type, 'bench');
  assert.equal(line.name, 'made-up');
  assert.equal(line.rows[0].failed, 1);
  const [file] = readdirSync(directory);
  const kept = JSON.parse(readFileSync(join(directory, String(file)), 'utf8'));
  assert.deepEqual(
    kept.samples.map((sample: { error?: string; measurement?: { raw: unknown } }) => [
      sample.error,
      sample.measurement?.raw,
    ]),
    [
      [undefined, { round: 1 }],
      ['no boot', undefined],
      [undefined, { round: 3 }],
    ],
  );
});

function bench(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const argv = ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'main.ts'), ...args];
    execFile(process.execPath, argv, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

test('without a name the benches are listed', async () => {
  const { code, stdout } = await bench();
  assert.equal(code, 0);
  assert.match(stdout, /^outage: /m);
});

test('an unknown bench is an input error that names those that there are', async () => {
  const { code, stderr } = await bench('nothing');
  assert.equal(code, 2);
  assert.match(stderr, /"nothing"; use one of outage/);
});
