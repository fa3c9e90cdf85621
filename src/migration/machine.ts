/**
 * The protocol of one migration as a pure transition table. The engine performs what the table says and nothing
 * else; a model checker can explore the same table.
 */

import { PHASES } from '../base/phases.ts';

export { PHASES };
export type Phase = (typeof PHASES)[number];

/** `completed`: all done. `degraded`: moved, without its device. `rolled-back`: as before, on the source. `planned`: a dry run. */
export type Ending = 'completed' | 'degraded' | 'rolled-back' | 'planned' | 'stuck';

export type State =
  | { kind: 'running'; phase: Phase; committed: boolean; degraded: boolean; dryRun: boolean }
  | { kind: 'rolling-back'; from: Phase }
  | { kind: 'ended'; ending: Ending };

/**
 * `committed` is the ownership compare-and-swap. `cancelled` is a failure whose cause is the user. `handed-back`: the
 * destination, on which the VM never ran, gave it back. `lost`: the VM may have run there, and its QEMU is gone.
 */
export const EVENTS = [
  'ok',
  'failed',
  'cancelled',
  'committed',
  'undone',
  'undo-failed',
  'handed-back',
  'lost',
] as const;
export type Event = (typeof EVENTS)[number];

export interface Transition {
  state: State;
  reason: string;
}

export function initialState(dryRun: boolean): State {
  return { kind: 'running', phase: 'preflight', committed: false, degraded: false, dryRun };
}

function following(phase: Phase): Phase | undefined {
  return PHASES[PHASES.indexOf(phase) + 1];
}

export type Running = Extract<State, { kind: 'running' }>;

function afterOk(state: Running): Transition {
  if (state.dryRun)
    return { state: { kind: 'ended', ending: 'planned' }, reason: 'a dry run ends after preflight' };
  if (state.phase === 'switchover' && !state.committed) {
    return {
      state: { kind: 'rolling-back', from: state.phase },
      reason: 'switchover ended without a commit',
    };
  }
  const next = following(state.phase);
  if (next === undefined) {
    const ending = state.degraded ? 'degraded' : 'completed';
    return {
      state: { kind: 'ended', ending },
      reason: state.degraded ? 'the direct device is missing' : 'all phases done',
    };
  }
  return { state: { ...state, phase: next }, reason: `${state.phase} done` };
}

function afterFailure(state: Running, event: 'failed' | 'cancelled'): Transition {
  if (!state.committed) {
    if (state.phase === 'preflight') {
      return {
        state: { kind: 'ended', ending: 'rolled-back' },
        reason: 'preflight changes nothing, so nothing is undone',
      };
    }
    return {
      state: { kind: 'rolling-back', from: state.phase },
      reason: `${event} before the commit: back to the source`,
    };
  }
  // after the commit there is no way back: the source may not run the VM any more
  if (event === 'cancelled') return { state, reason: 'cancel comes too late: the destination owns the VM' };
  if (state.phase === 'switchover') {
    return {
      state: { kind: 'ended', ending: 'stuck' },
      reason: 'the destination owns the VM and could not continue it',
    };
  }
  const next = following(state.phase);
  const degraded = { ...state, degraded: true };
  if (next === undefined)
    return { state: { kind: 'ended', ending: 'degraded' }, reason: 'settle left work to be reconciled' };
  return {
    state: { ...degraded, phase: next },
    reason: `${state.phase} failed after the commit: forward, degraded`,
  };
}

/** What tells the protocols apart that share these states and events: a migration, and a swap on one host. */
export interface Protocol {
  ok: (state: Running) => Transition;
  committed: (state: Running) => Transition;
  failed: (state: Running, event: 'failed' | 'cancelled') => Transition;
  undoFailed: (from: Phase) => Transition;
  /** Only where there are two hosts. */
  handedBack?: (state: Running) => Transition;
  lost?: (state: Running) => Transition;
  /** A commit that is learned of on the way back. */
  committedLate?: () => Transition;
}

/** The next state by a protocol. Events that a state does not expect leave it as it is, with the reason. */
export function transitionBy(protocol: Protocol, state: State, event: Event): Transition {
  switch (state.kind) {
    case 'ended':
      return { state, reason: 'already ended' };
    case 'rolling-back':
      switch (event) {
        case 'undone':
          return { state: { kind: 'ended', ending: 'rolled-back' }, reason: 'every step undone' };
        case 'undo-failed':
          return protocol.undoFailed(state.from);
        case 'committed':
          return protocol.committedLate?.() ?? { state, reason: 'already rolling back' };
        case 'ok':
        case 'failed':
        case 'cancelled':
        case 'handed-back':
        case 'lost':
          return { state, reason: 'already rolling back' };
        default:
          return event satisfies never;
      }
    case 'running':
      switch (event) {
        case 'ok':
          return protocol.ok(state);
        case 'committed':
          return protocol.committed(state);
        case 'failed':
        case 'cancelled':
          return protocol.failed(state, event);
        case 'undone':
        case 'undo-failed':
          return { state, reason: 'nothing is being undone' };
        case 'handed-back':
          return protocol.handedBack?.(state) ?? { state, reason: 'there is no other host' };
        case 'lost':
          return protocol.lost?.(state) ?? { state, reason: 'there is no other host' };
        default:
          return event satisfies never;
      }
    default:
      return state satisfies never;
  }
}

/** An undo that failed leaves something that only the journal knows. */
export const STUCK: Transition = {
  state: { kind: 'ended', ending: 'stuck' },
  reason: 'an undo failed; the journal names what is left',
};

const UNCOMMITTED = 'the destination never owned the VM';

const MIGRATION: Protocol = {
  ok: afterOk,
  committed: (state) => ({ state: { ...state, committed: true }, reason: 'the destination owns the VM' }),
  failed: afterFailure,
  undoFailed: () => STUCK,
  // the one way back after the commit: the record names the source again, because no vCPU ran on the destination
  handedBack: (state) =>
    state.committed
      ? { state: { kind: 'rolling-back', from: state.phase }, reason: 'the destination gave the VM back' }
      : { state, reason: UNCOMMITTED },
  lost: (state) =>
    state.committed
      ? { state: { kind: 'ended', ending: 'stuck' }, reason: 'the VM ended with its QEMU on the destination' }
      : { state, reason: UNCOMMITTED },
  committedLate: () => ({
    state: { kind: 'running', phase: 'switchover', committed: true, degraded: false, dryRun: false },
    reason: 'the record names the destination, so there is no way back',
  }),
};

/** The next state of a migration. */
export const transition = (state: State, event: Event): Transition => transitionBy(MIGRATION, state, event);

/** Which host runs the VM when a migration is found in this state, whatever happened to the processes. */
export function rightfulRunner(state: State): 'source' | 'destination' {
  if (state.kind === 'running') return state.committed ? 'destination' : 'source';
  if (state.kind === 'rolling-back') return 'source';
  return state.ending === 'rolled-back' || state.ending === 'planned' ? 'source' : 'destination';
}
