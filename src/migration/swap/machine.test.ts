import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Event, initialState, type State } from '../machine.ts';
import { SWAP_PHASES, type SwapKind, swapTransition } from './machine.ts';

const run = (kind: SwapKind, events: readonly Event[], dryRun = false): State =>
  events.reduce((state, event) => swapTransition(kind, state, event).state, initialState(dryRun));
const upTo = (phase: (typeof SWAP_PHASES)[number]): Event[] =>
  SWAP_PHASES.slice(0, SWAP_PHASES.indexOf(phase)).map(() => 'ok');

describe('the table of a swap', () => {
  test('all phases end well', () => {
    const ended = run(
      'swap',
      SWAP_PHASES.map(() => 'ok' as const),
    );
    assert.deepEqual(ended, { kind: 'ended', ending: 'completed' });
  });

  test('a dry run ends after preflight', () => {
    assert.deepEqual(run('swap', ['ok'], true), { kind: 'ended', ending: 'planned' });
  });

  for (const phase of ['reserve', 'stage', 'detach', 'attach'] as const) {
    for (const event of ['failed', 'cancelled'] as const) {
      test(`${event} in ${phase}: the old device comes back`, () => {
        const state = run('swap', [...upTo(phase), event]);
        assert.deepEqual(state, { kind: 'rolling-back', from: phase });
        assert.deepEqual(swapTransition('swap', state, 'undone').state, {
          kind: 'ended',
          ending: 'rolled-back',
        });
      });
    }
  }

  test('when neither device comes the machine runs without one, which is degraded and not stuck', () => {
    assert.deepEqual(run('swap', [...upTo('attach'), 'failed', 'undo-failed']), {
      kind: 'ended',
      ending: 'degraded',
    });
    assert.deepEqual(run('swap', [...upTo('stage'), 'failed', 'undo-failed']), {
      kind: 'ended',
      ending: 'stuck',
    });
  });

  test('once traffic is on the new device nothing goes back', () => {
    const state = run('swap', upTo('settle'));
    assert.deepEqual(swapTransition('swap', state, 'cancelled').state, state);
    assert.deepEqual(swapTransition('swap', state, 'failed').state, { kind: 'ended', ending: 'degraded' });
  });

  test('a rescue has nothing to go back to: a device that does not come leaves it degraded', () => {
    const settling = run('rescue', [...upTo('attach'), 'failed']);
    assert.ok(settling.kind === 'running' && settling.phase === 'settle' && settling.degraded);
    assert.deepEqual(swapTransition('rescue', settling, 'ok').state, { kind: 'ended', ending: 'degraded' });
    assert.equal(run('rescue', [...upTo('stage'), 'failed']).kind, 'rolling-back');
  });

  test('whatever happens, an end is final, and only phases of a swap are reached', () => {
    const event = fc.constantFrom<Event>('ok', 'failed', 'cancelled', 'committed', 'undone', 'undo-failed');
    const kind = fc.constantFrom<SwapKind>('swap', 'rescue');
    fc.assert(
      fc.property(kind, fc.boolean(), fc.array(event), (which, dryRun, events) => {
        let state = initialState(dryRun);
        for (const each of events) {
          const next = swapTransition(which, state, each).state;
          if (state.kind === 'ended') assert.deepEqual(next, state);
          if (next.kind === 'running') assert.ok(SWAP_PHASES.some((phase) => phase === next.phase));
          if (state.kind !== 'ended' && next.kind === 'ended' && next.ending === 'completed') {
            assert.ok(state.kind === 'running' && state.committed && !state.degraded);
          }
          state = next;
        }
      }),
    );
  });
});
