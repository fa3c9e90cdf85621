import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CaseResult, caseLine, jsonLine, sumLine, table } from './report.ts';

const result = (id: string, survived: boolean, more: Partial<CaseResult> = {}): CaseResult => ({
  case: { id, phase: 'copy', fault: 'link-2s', way: 'postcopy', short: true },
  ...{ survived, fate: 'lives', ending: 'rolled-back', exception: undefined, ms: 4200 },
  problems: survived ? [] : ['no copy runs'],
  ...more,
});

test('the sums, the lines and the table say what was lost and why', () => {
  const results = [result('copy/link-2s', true), result('copy/link-2s/x', false, { ending: null })];
  assert.equal(sumLine(results), 'faults 2, survived 1, lost 1');
  assert.match(caseLine(results[1] as CaseResult), /✗ copy\/link-2s\/x {2}open {2}4.2 s\n {4}no copy runs/);
  assert.match(table(results).join('\n'), /link-2s {2}1\/2 {2}1 rolled-back, 1 open/);
});

test('a VM that was allowed to end is told with the reason', () => {
  const ended = result('copy/kill-source-qemu', true, { fate: 'ended', exception: 'it was the only one' });
  assert.match(caseLine(ended), /the VM ended: it was the only one/);
  assert.match(table([ended]).join(), /1 VM ended/);
});

test('the line for programs has the sums and each case', () => {
  const parsed = JSON.parse(jsonLine([result('copy/link-2s', true)]));
  assert.deepEqual([parsed.type, parsed.total, parsed.survived, parsed.lost], ['faults', 1, 1, 0]);
  assert.deepEqual([parsed.cases[0].id, parsed.cases[0].exception], ['copy/link-2s', null]);
});
