/**
 * A VM that was left without a device, whichever journal of its host knows of it: that of what the host did with its own
 * VMs, or that of what came from elsewhere. So the host that runs the VM can mend it by itself; the other may be gone.
 */
import { ShadowferryError } from '../errors.ts';
import { degradedMigration, degradedWhy, NOTE, type StagedNote, stagedOf } from './history.ts';
import { errorOf } from './incoming/error-text.ts';
import type { IncomingEntry, IncomingJournal } from './incoming/journal.ts';
import type { Journal, JournalStep, StepJournal } from './journal.ts';
import { type Exchange, exchangeOf } from './swap/exchange.ts';

/** What came here, as far as it is asked about. */
export type Arrivals = Pick<IncomingJournal, 'lastArrival' | 'begin' | 'end' | 'note' | 'steps' | 'told'>;

export interface Degraded {
  /** The migration or swap. */
  id: string;
  vm: string;
  /** Where the VM was left so. */
  host: string;
  why: string;
  /** What was staged, by NIC. */
  staged: () => ReadonlyMap<string, StagedNote>;
  /** Where its steps are, and further ones go. */
  journal: StepJournal;
  steps: () => JournalStep[];
  /** Of a swap, the old device of which may still be claimed. */
  exchange: () => Exchange | undefined;
  /** Writes that it has what it lacked. */
  mended: (text: string) => void;
}

function arrivedDegraded(
  arrivals: Arrivals,
  { id, handOver, state, staged }: IncomingEntry,
): Degraded | undefined {
  const told = arrivals.told(id).map(({ what }) => what);
  const settled = told.findLast((what) => what.kind === 'settled')?.settled;
  const failed = told.findLast((what) => what.kind === 'attached')?.attached.failed ?? {};
  const missing = state.kind === 'settled' && state.degraded;
  if (!missing && settled?.error === undefined) return undefined;
  const steps = () => arrivals.steps(id);
  if (steps().some(({ name, status }) => name === NOTE.reattached && status === 'done')) return undefined;
  const errors = [...Object.values(failed), ...(settled?.error === undefined ? [] : [settled.error])];
  const { vm, destination: host } = handOver;
  return {
    ...{ id, vm, host, journal: arrivals, steps, exchange: () => undefined },
    why: errors.map((error) => errorOf(error).message).join(' ') || 'its device is missing',
    staged: () => new Map(staged.map(({ nic, shadow, plan }) => [nic, { nic, shadow, plan }])),
    // that journal has no notes
    mended: (text) => arrivals.end(id, arrivals.begin(id, 'attach', NOTE.reattached, []), 'done', { text }),
  };
}

/**
 * What a VM suffers from; undefined where its last move left it whole, or it was mended since.
 * @param arrivals where the host has such a journal: what came last counts, by the host's clock
 */
export function degradedOf(vm: string, journal: Journal, arrivals?: Arrivals): Degraded | undefined {
  const arrival = arrivals?.lastArrival(vm);
  const ours = journal
    .migrations({ vm })
    .findLast(({ ending }) => ending === 'completed' || ending === 'degraded');
  if (arrivals !== undefined && arrival !== undefined && (arrival.ended ?? 0) >= (ours?.ended ?? 0))
    return arrivedDegraded(arrivals, arrival);
  const entry = degradedMigration(journal, vm);
  if (entry === undefined) return undefined;
  const { id, destination: host } = entry;
  return {
    ...{ id, vm, host, journal, why: degradedWhy(entry) },
    staged: () => stagedOf(journal, id),
    steps: () => journal.steps(id),
    exchange: () => exchangeOf(journal, id),
    mended: (text) => journal.note(id, NOTE.reattached, text),
  };
}

/** The error that says that a VM is degraded, with the reason that was given. */
export const degradedVm = (
  { vm, host, why }: Pick<Degraded, 'vm' | 'host' | 'why'>,
  cause?: unknown,
): ShadowferryError => new ShadowferryError('DEGRADED', { vm, host, why }, { cause });
