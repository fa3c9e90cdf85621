/**
 * The protocol of a swap as a pure transition table, as `../machine.ts` is that of a migration: one device gives way to
 * another on the same host. No memory moves, so there is no copy and no switchover; the point of no return is the
 * moment when traffic is on the new device. Before it the old device comes back.
 *
 * A rescue is a swap whose old device is dead already: there is nothing to go back to, so once the new device was to
 * be plugged it goes forward only.
 */
import {
  type Event,
  type Phase,
  type Protocol,
  type Running,
  STUCK,
  type State,
  type Transition,
  transitionBy,
} from '../machine.ts';

export type SwapKind = 'swap' | 'rescue';

/** The phases of a swap, in order. */
export const SWAP_PHASES = ['preflight', 'reserve', 'stage', 'detach', 'attach', 'settle'] as const;
export type SwapPhase = (typeof SWAP_PHASES)[number] & Phase;

const ORDER: readonly Phase[] = SWAP_PHASES;
const position = (phase: Phase): number => ORDER.indexOf(phase);

function afterOk(state: Running): Transition {
  if (state.dryRun)
    return { state: { kind: 'ended', ending: 'planned' }, reason: 'a dry run ends after preflight' };
  const next = SWAP_PHASES[position(state.phase) + 1];
  if (next === undefined) {
    const ending = state.degraded ? 'degraded' : 'completed';
    return {
      state: { kind: 'ended', ending },
      reason: state.degraded ? 'the direct device is missing' : 'all phases done',
    };
  }
  const committed = state.committed || state.phase === 'attach';
  const reason = state.phase === 'attach' ? 'traffic is on the new device' : `${state.phase} done`;
  return { state: { ...state, committed, phase: next }, reason };
}

function afterFailure(kind: SwapKind, state: Running, event: 'failed' | 'cancelled'): Transition {
  if (state.phase === 'preflight') {
    return {
      state: { kind: 'ended', ending: 'rolled-back' },
      reason: 'preflight changes nothing, so nothing is undone',
    };
  }
  if (state.committed) {
    if (event === 'cancelled') return { state, reason: 'cancel comes too late: the new device is in use' };
    return { state: { kind: 'ended', ending: 'degraded' }, reason: 'settle left work to be reconciled' };
  }
  if (kind === 'rescue' && state.phase === 'attach') {
    return {
      state: { ...state, committed: true, degraded: true, phase: 'settle' },
      reason: 'there is no device to go back to: forward, degraded',
    };
  }
  return { state: { kind: 'rolling-back', from: state.phase }, reason: `${event}: back to the old device` };
}

function afterFailedUndo(from: Phase): Transition {
  // from the detach on the interface may be without any device, which `attach` can mend
  if (position(from) < position('detach')) return STUCK;
  return {
    state: { kind: 'ended', ending: 'degraded' },
    reason: 'neither the new device nor the old one came',
  };
}

/** The next state of a swap or a rescue. */
export function swapTransition(kind: SwapKind, state: State, event: Event): Transition {
  const protocol: Protocol = {
    ok: afterOk,
    committed: (unchanged) => ({ state: unchanged, reason: 'a swap has no hand-over' }),
    failed: (running, how) => afterFailure(kind, running, how),
    undoFailed: afterFailedUndo,
  };
  return transitionBy(protocol, state, event);
}
