import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  EVENTS,
  type Event,
  initialState,
  PHASES,
  rightfulRunner,
  type State,
  transition,
} from './machine.ts';

const events: Event[] = ['ok', 'failed', 'cancelled', 'committed', 'undone', 'undo-failed'];

/** The events as an engine emits them: a commit only in switchover, undo results only while rolling back. */
function walk(choices: readonly number[]): State[] {
  let state = initialState(false);
  const path = [state];
  for (const choice of choices) {
    if (state.kind === 'ended') break;
    const possible = events.filter((event) => {
      if (state.kind === 'rolling-back') return event === 'undone' || event === 'undo-failed';
      if (event === 'committed') return state.kind === 'running' && state.phase === 'switchover';
      return event === 'ok' || event === 'failed' || event === 'cancelled';
    });
    const event = possible[choice % possible.length];
    if (event === undefined) break;
    state = transition(state, event).state;
    path.push(state);
  }
  return path;
}

test('the eight phases run in order to completed', () => {
  let state = initialState(false);
  const seen: string[] = [];
  while (state.kind === 'running') {
    seen.push(state.phase);
    if (state.phase === 'switchover') state = transition(state, 'committed').state;
    state = transition(state, 'ok').state;
  }
  assert.deepEqual(seen, [...PHASES]);
  assert.deepEqual(state, { kind: 'ended', ending: 'completed' });
});

test('a dry run ends after preflight', () => {
  assert.deepEqual(transition(initialState(true), 'ok').state, { kind: 'ended', ending: 'planned' });
});

test('once committed, no sequence of events gives the VM back to the source; before, none gives it away', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 40 }), (choices) => {
      let committed = false;
      for (const state of walk(choices)) {
        if (state.kind === 'running') committed ||= state.committed;
        if (state.kind !== 'ended' || state.ending !== 'stuck') {
          assert.equal(rightfulRunner(state), committed ? 'destination' : 'source');
        }
      }
    }),
  );
});

test('switchover cannot be left without a commit', () => {
  const state: State = {
    kind: 'running',
    phase: 'switchover',
    committed: false,
    degraded: false,
    dryRun: false,
  };
  assert.equal(transition(state, 'ok').state.kind, 'rolling-back');
});

test('a failed attach goes on to settle and ends degraded', () => {
  const attach: State = { kind: 'running', phase: 'attach', committed: true, degraded: false, dryRun: false };
  const settle = transition(attach, 'failed').state;
  assert.deepEqual(settle, { ...attach, phase: 'settle', degraded: true });
  assert.deepEqual(transition(settle, 'ok').state, { kind: 'ended', ending: 'degraded' });
});

test('cancel after the commit changes nothing', () => {
  const attach: State = { kind: 'running', phase: 'attach', committed: true, degraded: false, dryRun: false };
  assert.deepEqual(transition(attach, 'cancelled').state, attach);
});

test('only a VM that was given away can be handed back, and then the source is to run it', () => {
  const before: State = { kind: 'running', phase: 'copy', committed: false, degraded: false, dryRun: false };
  assert.equal(transition(before, 'handed-back').state, before);
  assert.equal(transition(before, 'lost').state, before);
  const after: State = { ...before, phase: 'attach', committed: true };
  const back = transition(after, 'handed-back').state;
  assert.deepEqual(back, { kind: 'rolling-back', from: 'attach' });
  assert.equal(rightfulRunner(back), 'source');
  assert.deepEqual(transition(after, 'lost').state, { kind: 'ended', ending: 'stuck' });
});

test('a commit that is learned of on the way back turns it forward', () => {
  const { state } = transition({ kind: 'rolling-back', from: 'switchover' }, 'committed');
  assert.equal(rightfulRunner(state), 'destination');
  assert.equal(transition(transition(state, 'ok').state, 'ok').state.kind, 'running');
});

test('what has ended stays', () => {
  const ended: State = { kind: 'ended', ending: 'completed' };
  for (const event of EVENTS) assert.equal(transition(ended, event).state, ended);
});
