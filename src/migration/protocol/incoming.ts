/**
 * The destination's half of a migration as a pure transition table. The destination's daemon keeps the state in its own
 * journal, written before it acts, and goes forward or back by itself when the coordinator is gone.
 */

export type IncomingState =
  /** Claims, taps and a QEMU that waits are being made. */
  | { kind: 'reserving' }
  | { kind: 'reserved' }
  /** The copy has begun. */
  | { kind: 'receiving' }
  /** Loaded and paused. This is the vote: from here on only the record says how it ends. */
  | { kind: 'ready' }
  /** The record named us. Written before `cont`: from here on the VM may have run here. */
  | { kind: 'starting' }
  | { kind: 'active' }
  | { kind: 'attached'; degraded: boolean }
  | { kind: 'settled'; degraded: boolean }
  /** The record names us, and the VM never ran here and never will: its QEMU goes, then the record goes back. */
  | { kind: 'returning' }
  /** The hand-over cannot happen any more: what was made is taken back. */
  | { kind: 'discarding' }
  | { kind: 'discarded' }
  /** It may have run here, and its QEMU is gone: no copy is left that could go on. */
  | { kind: 'lost' };

export const INCOMING_KINDS = [
  'reserving',
  'reserved',
  'receiving',
  'ready',
  'starting',
  'active',
  'attached',
  'settled',
  'returning',
  'discarding',
  'discarded',
  'lost',
] as const satisfies readonly IncomingState['kind'][];
export type IncomingKind = (typeof INCOMING_KINDS)[number];

export type IncomingEvent =
  | 'reserved'
  | 'copy-begun'
  | 'loaded'
  /** The record names us by this hand-over. */
  | 'owned'
  /** The record can not name us by this hand-over any more. */
  | 'disowned'
  /** The coordinator says that it goes back; it says so only when it will never ask for the commit again. */
  | 'cancelled'
  /** Something that is needed before the vote did not work. */
  | 'failed'
  /** The VM has never run here and cannot. */
  | 'cannot-start'
  | 'runs'
  | 'attached'
  | 'attach-failed'
  /** All memory is here. */
  | 'whole'
  /** QEMU is gone after the VM may have run. */
  | 'qemu-gone'
  | 'undone';

export const INCOMING_EVENTS = [
  'reserved',
  'copy-begun',
  'loaded',
  'owned',
  'disowned',
  'cancelled',
  'failed',
  'cannot-start',
  'runs',
  'attached',
  'attach-failed',
  'whole',
  'qemu-gone',
  'undone',
] as const satisfies readonly IncomingEvent[];

export const FIRST_INCOMING: IncomingState = { kind: 'reserving' };

type Next = Partial<Record<IncomingEvent, IncomingState>>;

const DISCARDING: IncomingState = { kind: 'discarding' };
const RETURNING: IncomingState = { kind: 'returning' };
const BACK: Next = { disowned: DISCARDING, cancelled: DISCARDING };
/** Before the vote the destination may leave on its own account; `cannot-start` is for a record that names us early. */
const BEFORE_VOTE: Next = { ...BACK, failed: DISCARDING, 'cannot-start': RETURNING };
const GONE: Next = { 'qemu-gone': { kind: 'lost' } };

function following(state: IncomingState): Next {
  switch (state.kind) {
    case 'reserving':
      return { ...BEFORE_VOTE, reserved: { kind: 'reserved' } };
    case 'reserved':
      return { ...BEFORE_VOTE, 'copy-begun': { kind: 'receiving' }, loaded: { kind: 'ready' } };
    case 'receiving':
      return { ...BEFORE_VOTE, loaded: { kind: 'ready' } };
    case 'ready': // not `failed`: who has voted waits for the record
      return { ...BACK, owned: { kind: 'starting' }, 'cannot-start': RETURNING };
    case 'starting':
      return { ...GONE, runs: { kind: 'active' }, 'cannot-start': RETURNING };
    case 'active':
      return {
        ...GONE,
        attached: { kind: 'attached', degraded: false },
        'attach-failed': { kind: 'attached', degraded: true },
      };
    case 'attached':
      return { ...GONE, whole: { kind: 'settled', degraded: state.degraded } };
    case 'returning':
      return { disowned: DISCARDING };
    case 'discarding':
      return { undone: { kind: 'discarded' } };
    case 'settled':
    case 'discarded':
    case 'lost':
      return {};
    default:
      return state satisfies never;
  }
}

/** The next state; an event that a state does not expect (a repeated or late one) leaves it as it is. */
export function incomingTransition(state: IncomingState, event: IncomingEvent): IncomingState {
  return following(state)[event] ?? state;
}

/** Whether nothing more is to be done. */
export function incomingEnded({ kind }: IncomingState): boolean {
  return kind === 'settled' || kind === 'discarded' || kind === 'lost';
}
