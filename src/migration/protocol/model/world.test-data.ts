/** The state of everything that takes part in one migration, for the model checker. */
import { initialState, type State } from '../../machine.ts';
import type { IncomingState } from '../incoming.ts';
import {
  DESTINATION_VIEWS,
  type DestinationView,
  MEMORY_VIEWS,
  type MemoryView,
  SOURCE_VIEWS,
  type SourceView,
} from '../qemu-view.ts';
import { STANDINGS, type Standing } from '../record.ts';

/** Questions to the store that are on their way: each may be answered at any later time, or be lost. */
export const FLYING = { commit: 1, sourceRefusal: 2, destinationRefusal: 4, handBack: 8 } as const;
/** Messages that were sent once: each may come at any later time, and again. */
export const SENT = { reserve: 1, cancel: 2 } as const;

export interface SourceLook {
  record: Standing;
  qemu: SourceView;
}
export interface DestinationLook {
  record: Standing;
  qemu: DestinationView;
}

export interface World {
  /** Journals. They outlive their daemons. */
  source: State;
  asked: boolean;
  destination: IncomingState | undefined;
  sourceUp: boolean;
  destinationUp: boolean;
  /** The process that began the migration still drives it; afterwards the decisions for recovery do. */
  live: boolean;
  sourceQemu: SourceView;
  destinationQemu: DestinationView;
  memory: MemoryView;
  /** The destination listens anew for a copy that was cut. */
  listening: boolean;
  /** `cont` was given before everything was there: QEMU runs as soon as it can. */
  runWhenLoaded: boolean;
  sourceDevice: boolean;
  destinationDevice: boolean;
  sourceClaims: boolean;
  destinationClaims: boolean;
  record: Exclude<Standing, 'unreachable'>;
  storeAtSource: boolean;
  storeAtDestination: boolean;
  flying: number;
  sent: number;
  /** Every state that the destination ever was in, as bits of `saidBit`: answers may be old. */
  said: number;
  /** What a daemon looked at, and will act on: by then it may be otherwise. */
  sourceLook: SourceLook | undefined;
  destinationLook: DestinationLook | undefined;
  /** Seen by the checker only: vCPUs ran on the destination; the source ran on after the destination had loaded. */
  ran: boolean;
  outdated: boolean;
  /** A QEMU was killed, after which no copy may be left. */
  sourceKilled: boolean;
  destinationKilled: boolean;
  /** How many faults may still happen. */
  faults: number;
}

/** Values by number, and numbers by value: states of the tables are small objects. */
class Numbered<T extends object> {
  readonly #values: T[] = [];
  readonly #numbers = new Map<string, number>();
  /** Most are asked for again as the very same object. */
  readonly #same = new WeakMap<T, number>();

  /** 0 for none. */
  of(value: T | undefined): number {
    if (value === undefined) return 0;
    const same = this.#same.get(value);
    if (same !== undefined) return same;
    const text = JSON.stringify(value);
    let number = this.#numbers.get(text);
    if (number === undefined) {
      this.#values.push(value);
      number = this.#values.length;
      this.#numbers.set(text, number);
    }
    this.#same.set(value, number);
    return number;
  }

  maybeAt(number: number): T | undefined {
    return number === 0 ? undefined : this.at(number);
  }

  at(number: number): T {
    const value = this.#values[number - 1];
    if (value === undefined) throw new RangeError(`nothing has the number ${number}`);
    return value;
  }
}

const sources = new Numbered<State>();
const destinations = new Numbered<IncomingState>();
const said = new Numbered<IncomingState>();
const sourceLooks = new Numbered<SourceLook>();
const destinationLooks = new Numbered<DestinationLook>();

export const saidBit = (state: IncomingState): number => 1 << (said.of(state) - 1);
export function saidStates(mask: number): IncomingState[] {
  const states: IncomingState[] = [];
  for (let n = 0; mask >> n > 0; n += 1) if ((mask >> n) & 1) states.push(said.at(n + 1));
  return states;
}

const bit = (value: boolean, place: number): number => (value ? 1 << place : 0);

export function encode(w: World): string {
  const flags =
    bit(w.asked, 0) |
    bit(w.sourceUp, 1) |
    bit(w.destinationUp, 2) |
    bit(w.live, 3) |
    bit(w.listening, 4) |
    bit(w.runWhenLoaded, 5) |
    bit(w.sourceDevice, 6) |
    bit(w.destinationDevice, 7) |
    bit(w.sourceClaims, 8) |
    bit(w.destinationClaims, 9) |
    bit(w.storeAtSource, 10) |
    bit(w.storeAtDestination, 11) |
    bit(w.ran, 12) |
    bit(w.outdated, 13) |
    bit(w.sourceKilled, 14) |
    bit(w.destinationKilled, 15);
  return String.fromCharCode(
    flags,
    sources.of(w.source),
    destinations.of(w.destination),
    SOURCE_VIEWS.indexOf(w.sourceQemu) * 64 +
      DESTINATION_VIEWS.indexOf(w.destinationQemu) * 8 +
      MEMORY_VIEWS.indexOf(w.memory),
    STANDINGS.indexOf(w.record) * 256 + w.flying * 16 + w.sent * 4,
    w.said,
    w.faults,
    sourceLooks.of(w.sourceLook),
    destinationLooks.of(w.destinationLook),
  );
}

function pick<T>(values: readonly T[], index: number): T {
  const value = values[index];
  if (value === undefined) throw new RangeError(`no value ${index}`);
  return value;
}

export function decode(text: string): World {
  const flags = text.charCodeAt(0);
  const flag = (place: number) => ((flags >> place) & 1) === 1;
  const views = text.charCodeAt(3);
  const wire = text.charCodeAt(4);
  const record = pick(STANDINGS, wire >> 8);
  if (record === 'unreachable') throw new RangeError('the record itself is always there');
  return {
    source: sources.at(text.charCodeAt(1)),
    asked: flag(0),
    destination: destinations.maybeAt(text.charCodeAt(2)),
    sourceUp: flag(1),
    destinationUp: flag(2),
    live: flag(3),
    sourceQemu: pick(SOURCE_VIEWS, views >> 6),
    destinationQemu: pick(DESTINATION_VIEWS, (views >> 3) & 7),
    memory: pick(MEMORY_VIEWS, views & 7),
    listening: flag(4),
    runWhenLoaded: flag(5),
    sourceDevice: flag(6),
    destinationDevice: flag(7),
    sourceClaims: flag(8),
    destinationClaims: flag(9),
    record,
    storeAtSource: flag(10),
    storeAtDestination: flag(11),
    flying: (wire >> 4) & 15,
    sent: (wire >> 2) & 3,
    said: text.charCodeAt(5),
    ran: flag(12),
    outdated: flag(13),
    sourceKilled: flag(14),
    destinationKilled: flag(15),
    faults: text.charCodeAt(6),
    sourceLook: sourceLooks.maybeAt(text.charCodeAt(7)),
    destinationLook: destinationLooks.maybeAt(text.charCodeAt(8)),
  };
}

/** All is well, and the user has asked for a migration. */
export function firstWorld(faults: number): World {
  return {
    source: initialState(false),
    asked: false,
    destination: undefined,
    sourceUp: true,
    destinationUp: true,
    live: true,
    sourceQemu: 'running',
    destinationQemu: 'none',
    memory: 'partial',
    listening: false,
    runWhenLoaded: false,
    sourceDevice: true,
    destinationDevice: false,
    sourceClaims: true,
    destinationClaims: false,
    record: 'undecided',
    storeAtSource: true,
    storeAtDestination: true,
    flying: 0,
    sent: 0,
    said: 0,
    sourceLook: undefined,
    destinationLook: undefined,
    ran: false,
    outdated: false,
    sourceKilled: false,
    destinationKilled: false,
    faults,
  };
}

export const runsAtSource = ({ sourceQemu }: World) => sourceQemu === 'running' || sourceQemu === 'copying';
export const runsAtDestination = ({ destinationQemu }: World) => destinationQemu === 'running';

export const INVARIANTS: Readonly<Record<string, (world: World) => boolean>> = {
  'never two running copies': (w) => !(runsAtSource(w) && runsAtDestination(w)),
  'before the commit only the source may run, after it only the destination': (w) =>
    w.record === 'committed' ? !runsAtSource(w) : !runsAtDestination(w),
  'the source never runs on after the VM ran on the destination': (w) => !(runsAtSource(w) && w.ran),
  'the destination never runs what the source has left behind': (w) => !(runsAtDestination(w) && w.outdated),
  'a copy that is needed is not ended': (w) =>
    w.sourceKilled ||
    w.destinationKilled ||
    runsAtDestination(w) ||
    w.sourceQemu !== 'none' ||
    w.destinationQemu === 'loaded' ||
    w.destinationQemu === 'stopped',
};

const ending = ({ source }: World) => (source.kind === 'ended' ? source.ending : undefined);
const cleanDestination = (w: World) =>
  w.destinationQemu === 'none' &&
  !w.destinationClaims &&
  (w.destination === undefined ? (w.sent & SENT.reserve) === 0 : w.destination.kind === 'discarded');

/** How a world ends, when it has ended and nothing is left over. */
export function endOf(w: World): 'source' | 'destination' | 'killed' | undefined {
  if (!(w.sourceUp && w.destinationUp && w.storeAtSource && w.storeAtDestination) || w.flying !== 0) return;
  const how = ending(w);
  if (w.record === 'committed') {
    if (w.destination?.kind === 'settled') {
      const clean = w.sourceQemu === 'none' && !w.sourceClaims && w.destinationClaims;
      if (!clean || (how !== 'completed' && how !== 'degraded')) return;
      if (w.destinationQemu === 'none' && w.destinationKilled) return 'killed'; // when nothing was left to be done
      return w.destinationQemu === 'running' && w.memory === 'whole' ? 'destination' : undefined;
    }
    if (w.sourceQemu !== 'none' || w.sourceClaims) return;
    // killed after it may have run; nothing runs
    if (w.destinationKilled && w.destination?.kind === 'lost' && how === 'stuck') return 'killed';
    // killed while the destination needed its pages: the operator is asked
    const crippled =
      w.destination?.kind === 'attached' && w.destinationQemu === 'running' && w.memory !== 'whole';
    return w.sourceKilled && crippled ? 'killed' : undefined;
  }
  if (how === undefined || !cleanDestination(w)) return;
  if (w.sourceQemu === 'running')
    return w.sourceDevice && w.sourceClaims && how === 'rolled-back' ? 'source' : undefined;
  return w.sourceKilled && w.sourceQemu === 'none' ? 'killed' : undefined;
}

export function show(w: World): string {
  const { source, destination, sourceQemu, destinationQemu, memory, record, flying, faults } = w;
  return JSON.stringify({ source, sourceQemu, destination, destinationQemu, memory, record, flying, faults });
}
