/**
 * The protocol of a swap as a pure transition table, as `../machine.ts` is that of a migration: one device gives way to
 * another on the same host. No memory moves, so there is no copy and no switchover; the point of no return is the
 * moment when traffic is on the new device. Before it the old device comes back.
 *
 * A rescue is a swap whose old device is dead already: there is nothing to go back to, so once the new device was to
 * be plugged it goes forward only.
 */
import type { Event, Phase, State, Transition } from '../machine.ts';

export type SwapKind = 'swap' | 'rescue';

/** The phases of a swap, in order. */
export const SWAP_PHASES = ['preflight', 'reserve', 'stage', 'detach', 'attach', 'settle'] as const;
export type SwapPhase = (typeof SWAP_PHASES)[number] & Phase;

type Running = Extract<State, { kind: 'running' }>;

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

/** The next state. Events that a state does not expect leave it as it is, with the reason. */
export function swapTransition(kind: SwapKind, state: State, event: Event): Transition {
  switch (state.kind) {
    case 'ended':
      return { state, reason: 'already ended' };
    case 'rolling-back':
      switch (event) {
        case 'undone':
          return { state: { kind: 'ended', ending: 'rolled-back' }, reason: 'every step undone' };
        case 'undo-failed':
          // from the detach on the interface may be without any device, which `attach` can mend
          return position(state.from) >= position('detach')
            ? {
                state: { kind: 'ended', ending: 'degraded' },
                reason: 'neither the new device nor the old one came',
              }
            : {
                state: { kind: 'ended', ending: 'stuck' },
                reason: 'an undo failed; the journal names what is left',
              };
        case 'ok':
        case 'failed':
        case 'cancelled':
        case 'committed':
          return { state, reason: 'already rolling back' };
        default:
          return event satisfies never;
      }
    case 'running':
      switch (event) {
        case 'ok':
          return afterOk(state);
        case 'failed':
        case 'cancelled':
          return afterFailure(kind, state, event);
        case 'committed':
          return { state, reason: 'a swap has no hand-over' };
        case 'undone':
        case 'undo-failed':
          return { state, reason: 'nothing is being undone' };
        default:
          return event satisfies never;
      }
    default:
      return state satisfies never;
  }
}
