import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_OPTIONS } from '../memory/strategy/options.ts';
import type { CopyTrace } from '../memory/strategy/trace.ts';
import type { JournalMigration, JournalStep } from '../migration/journal.ts';
import { explainMigration, isCommitted, phaseOf, traceOf } from './explain.ts';

const MIGRATION: JournalMigration = {
  id: 'm1',
  vm: 'web1',
  source: 'a',
  destination: 'b',
  request: '{}',
  state: JSON.stringify({ kind: 'running', phase: 'copy', committed: false, degraded: false, dryRun: false }),
  created: 1000,
  ended: null,
  ending: null,
  result: null,
};
const step = (seq: number, more: Partial<JournalStep>): JournalStep => ({
  ...{ seq, phase: 'reserve', name: 'claim device', status: 'done', undo: [], detail: null },
  ...{ begun: 1000 + seq, ended: 1100 + seq },
  ...more,
});

test('an open migration is said to be open, with its phase', () => {
  const { summary, advice } = explainMigration(MIGRATION, [], []);
  assert.equal(summary, 'VM "web1" from a to b is open, in copy.');
  assert.equal(advice.length, 1);
  assert.equal(phaseOf(MIGRATION), 'copy');
  const back = { ...MIGRATION, state: JSON.stringify({ kind: 'rolling-back', from: 'detach' }) };
  assert.equal(phaseOf(back), 'rolling back from detach');
});

test('an open one that waits for the operator says what he is asked', () => {
  const note = (at: number, text: string) => ({ at, kind: 'recovery', text });
  const asks = note(2000, 'ask-operator: the record is foreign');
  const { advice, lines } = explainMigration(MIGRATION, [], [asks]);
  assert.deepEqual(advice, ['The operator is asked: the record is foreign.']);
  assert.deepEqual(
    lines.map(({ text }) => text),
    ['the operator is asked: the record is foreign'],
  );
  const later = explainMigration(MIGRATION, [], [asks, note(3000, 'wait: the destination goes on')]);
  assert.match(later.advice.join(), /^Either/);
});

test('one that was taken back says why, what was done and undone, and what to do', () => {
  const error = { code: 'UNPLUG_IGNORED', message: 'the guest did not release it', fix: 'Check the guest.' };
  const ended = {
    ...MIGRATION,
    ending: 'rolled-back',
    ended: 3000,
    result: JSON.stringify({ totalMs: 2000, blackoutMs: null, error }),
  };
  const steps = [
    step(1, { status: 'undone', undo: [{ kind: 'release-device', host: 'b', device: 'nic0' }] }),
    step(2, { phase: 'detach', name: 'unplug', status: 'failed' }),
  ];
  const notes = [
    { at: 1001, kind: 'decision', text: 'pre-copy: there is a standby' },
    { at: 2000, kind: 'error', text: 'UNPLUG_IGNORED: the guest did not release it' },
    { at: 2500, kind: 'undo', text: 'release-device in 3 ms' },
  ];
  const { summary, lines, advice } = explainMigration(ended, steps, notes);
  assert.match(
    summary,
    /was taken back: everything is as it was after 2\.0 s: the guest did not release it \(UNPLUG_IGNORED\)\.$/,
  );
  assert.deepEqual(
    lines.map(({ text }) => text),
    [
      'reserve: claim device was done, and taken back later',
      'decided pre-copy: there is a standby',
      'detach: unplug FAILED (100 ms)',
      'failed: UNPLUG_IGNORED: the guest did not release it',
      'undone: release-device in 3 ms',
    ],
  );
  assert.deepEqual(advice, ['Check the guest.']);
  assert.equal(isCommitted(ended), false);
});

test('what could not be taken back is named', () => {
  const stuck = { ...MIGRATION, ending: 'stuck', ended: 2000, result: JSON.stringify({ left: ['tap sfx'] }) };
  const undo = [{ kind: 'remove-tap', host: 'b', tap: 'sfx' }] as const;
  const { advice } = explainMigration(stuck, [step(1, { status: 'undo-failed', undo: [...undo] })], []);
  assert.deepEqual(advice, ['Left over by "claim device": remove-tap.', 'Left over: tap sfx']);
});

test('a journal that another version wrote is told as far as it is understood', () => {
  const odd = { ...MIGRATION, state: 'no JSON', result: '{"totalMs":"x"}', ending: 'vanished', ended: 1500 };
  const { summary, lines } = explainMigration(
    odd,
    [],
    [
      { at: 1, kind: 'staged', text: '{' },
      { at: 2, kind: 'new', text: 'x' },
    ],
  );
  assert.equal(summary, 'VM "web1" from a to b vanished after 500 ms.');
  assert.deepEqual(
    lines.map(({ text }) => text),
    ['the shadow of a NIC and its plan were put into the guest', 'new: x'],
  );
});

test('the copy of the memory is given as data, and named in the explanation; what is no trace is none', () => {
  const trace: CopyTrace = {
    ...{ format: 1, qemu: '10.0.2', total: 4096, pageSize: 4096, version: '~3.1.0.0', end: 'pre-switchover' },
    start: { release: 3, switched: false, maxDowntimeMs: 300 },
    facts: { budgetMs: 1, stallMs: 1, maxDowntimeMs: 300, postcopyAllowed: true, throttleOffered: false },
    options: DEFAULT_OPTIONS,
    samples: [[0, 1, 2, 1, 0, 0]],
    decisions: [],
  };
  const note = (kind: string, text: string) => ({ at: 1, kind, text });
  const notes = [note('memory-version', '~3.1.0.0'), note('copy-trace', JSON.stringify(trace))];
  assert.deepEqual(traceOf(notes), trace);
  const said = explainMigration(MIGRATION, [], notes).lines.map(({ text }) => text);
  assert.deepEqual(said, [
    'version of the memory after the copy: ~3.1.0.0',
    'what the copy of the memory looked like was kept (explain --trace)',
  ]);
  assert.equal(traceOf([]), undefined);
  assert.equal(traceOf([note('copy-trace', '{"format":2}')]), undefined);
  assert.equal(traceOf([note('copy-trace', '{')]), undefined);
});
