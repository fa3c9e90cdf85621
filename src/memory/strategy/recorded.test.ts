/** Copies that were recorded with real guests (`node bench/memory/record.ts`), decided once more. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { DEFAULT_OPTIONS } from './options.ts';
import { CopyTrace, replayTrace } from './trace.ts';

const Recorded = CopyTrace.extend({ name: z.string() });
const lines = readFileSync(join(import.meta.dirname, 'recorded.jsonl'), 'utf8')
  .trim()
  .split('\n');
const traces = lines.map((line) => Recorded.parse(JSON.parse(line)));

test('there are fifty recorded copies at least, of every workload and link', () => {
  assert.ok(traces.length >= 50, `${traces.length}`);
  const parts = (n: number) => new Set(traces.map(({ name }) => name.split('-')[n]));
  assert.deepEqual([...parts(0)].toSorted(), ['hot', 'idle', 'midway', 'requests', 'scan']);
  assert.ok(parts(1).size >= 5);
});

describe('a recorded copy is decided as it was', () => {
  for (const trace of traces) {
    test(trace.name, () => {
      const again = replayTrace(trace);
      assert.deepEqual(
        again.map(({ decision: { action } }) => action),
        trace.decisions.map(({ action }) => action),
      );
      const last = again.at(-1)?.decision.action;
      if (trace.end === 'failed' || last === 'abort') assert.equal(last, 'abort');
    });
  }
});

test('with post-copy forbidden, no recorded copy is decided past its budget, and none goes by post-copy', () => {
  for (const trace of traces) {
    const facts = { ...trace.facts, postcopyAllowed: false };
    const decided = replayTrace({ ...trace, facts }, DEFAULT_OPTIONS);
    assert.ok(
      decided.every(({ decision: { action } }) => action !== 'postcopy'),
      trace.name,
    );
    for (const { atMs, decision } of decided)
      assert.ok(decision.action === 'abort' || atMs <= facts.budgetMs, trace.name);
  }
});
