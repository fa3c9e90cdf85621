/** Performs one attempt of a job with the engines of migrations and swaps, and says how it came out. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError, toShadowferryError } from '../../errors.ts';
import { type Arrivals, degradedOf, degradedVm } from '../../migration/degraded.ts';
import type { DestinationHost } from '../../migration/destination/destination.ts';
import { migrateVm } from '../../migration/engine.ts';
import { refuseBusy } from '../../migration/history.ts';
import type { Journal } from '../../migration/journal.ts';
import type { DestinationPeer } from '../../migration/protocol/peer.ts';
import type { MigrationRequest } from '../../migration/request.ts';
import type { MigrationResult } from '../../migration/result.ts';
import { type SwapDependencies, swapDevice } from '../../migration/swap/engine.ts';
import { lastKnownShadow } from '../../migration/swap/history.ts';
import type { SwapRequest } from '../../migration/swap/request.ts';
import { vmSite } from '../../migration/swap/vm-site.ts';
import { disconnectVm, type RunningVm } from '../../migration/vm.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { Work } from './job.ts';
import type { LateWrites } from './late-writes.ts';
import type { Attempt } from './scheduler.ts';
import type { Teller } from './tell.ts';
import type { WorkMetrics } from './work-metrics.ts';

/** What is needed of the registry of VMs. */
export interface VmKeeper {
  /** @throws UNKNOWN_VM, VM_BUSY, VM_STATE, VM_LIMITED */
  hold<T>(name: string, why: string, act: (vm: RunningVm) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** It runs on another host from now on. */
  left(name: string, why?: string): void;
}

/** What performs them; tests have engines of their own. */
export interface Engines {
  migrate: typeof migrateVm;
  swap: (request: SwapRequest, given: SwapGiven) => Promise<MigrationResult>;
}

type SwapGiven = Omit<SwapDependencies, 'site' | 'lastKnown'> & {
  vm: RunningVm;
  ownership: OwnershipStore;
  shadows: ShadowStore;
};

/** Finds the devices, and what is known of the one that died. */
async function swapInVm(request: SwapRequest, given: SwapGiven): Promise<MigrationResult> {
  const { vm, ownership, ...rest } = given;
  const signal = deadline('asking QEMU', ASK_MS, given.cancel);
  const site = await vmSite(request, { vm, ownership, signal });
  const lastKnown =
    request.kind === 'rescue' ? lastKnownShadow(given.shadows, request.vm, site.nic) : undefined;
  return swapDevice(request, { ...rest, site, lastKnown });
}

export const ENGINES: Engines = { migrate: migrateVm, swap: swapInVm };

export interface PerformDependencies {
  engines: Engines;
  host: string;
  vms: VmKeeper;
  /** @throws UNKNOWN_HOST */
  destination: (name: string) => DestinationHost & DestinationPeer;
  /** A connection of its own to the journal: how it waits for the disk is the business of one migration. */
  openJournal: () => Journal;
  /** What came here from other hosts. */
  arrivals?: Arrivals | undefined;
  /** What the disk did not take now is written later. */
  late: LateWrites;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  shadows: ShadowStore;
  metrics: WorkMetrics;
}

const ASK_MS = 30_000;
const OWNER_MS = 5_000;

/** So often another device is looked for when a migration that began at the same time took the one that was free. */
const CLASHES = 20;

/**
 * Why a migration that went back is to be tried again: the destination would not take the VM now, or another migration
 * claimed the device that nobody had asked for. Undefined when it is not.
 */
export function whyAgain(
  { ending, error, nics }: Pick<MigrationResult, 'ending' | 'error' | 'nics'>,
  work: Work,
  putBacks: number,
): string | undefined {
  if (ending !== 'rolled-back' || error === undefined) return undefined;
  if (error.code === 'DESTINATION_BUSY') return error.message;
  if (error.code !== 'DEVICE_CLAIMED_TWICE' || work.kind !== 'migration' || putBacks >= CLASHES)
    return undefined;
  const left = nics.some(({ nic }) => work.request.devices[nic] === undefined);
  return left ? error.message : undefined;
}

/** Why an attempt that did not begin may be tried again; undefined when trying again changes nothing. */
function again(error: ShadowferryError): string | undefined {
  return error.code === 'VM_BUSY' || error.code === 'DESTINATION_BUSY' ? error.message : undefined;
}

/** Writes into the journal that something ended before it began. */
export function journalNeverBegan(
  journal: Journal,
  about: { id: string; vm: string; source: string; destination: string; request: unknown },
  { code, message, fix }: ShadowferryError,
): void {
  const state = { kind: 'ended', ending: 'rolled-back' } as const;
  journal.open({ ...about, state });
  journal.note(about.id, 'error', `${code}: ${message}`);
  const { id, vm, source, destination } = about;
  const nothing = { ...{ id, vm, source, destination }, totalMs: 0, blackoutMs: null, memoryBytes: 0 };
  const empty = { ...nothing, ending: 'rolled-back', ok: false, warnings: [], left: [] };
  journal.close(id, 'rolled-back', { ...empty, error: { code, message, fix } });
}

/** Where a VM is after a migration: the record says so, and how it ended where the store is silent. */
async function hasLeft(
  { host, ownership }: PerformDependencies,
  { vm, ending }: MigrationResult,
): Promise<boolean> {
  if (ending === 'rolled-back' || ending === 'planned') return false;
  try {
    const record = await ownership.read(vm, deadline('the ownership store', OWNER_MS));
    return record !== undefined && record.owner !== host;
  } catch {
    return ending === 'completed' || ending === 'degraded';
  }
}

/** Gives `act` a journal of its own, which lives on where its disk has not taken all of it. */
async function withJournal<T>(
  { openJournal, late }: Pick<PerformDependencies, 'openJournal' | 'late'>,
  id: string,
  act: (journal: Journal, unwritten: (catchUp: () => void) => void) => Promise<T>,
): Promise<T> {
  const journal = openJournal();
  let behind = false;
  try {
    return await act(journal, (catchUp) => {
      behind = true;
      late.add(`the end of ${id} in the journal`, () => {
        catchUp();
        journal.dispose();
      });
    });
  } finally {
    if (!behind) journal.dispose();
  }
}

/** @throws what `migrateVm` throws of a request that does not fit */
export async function performMigration(
  request: MigrationRequest,
  dependencies: PerformDependencies,
  how: Pick<Attempt, 'id' | 'cancel' | 'confirm'> & { teller: Pick<Teller, 'emit'> },
  ended: (result: MigrationResult) => void,
): Promise<MigrationResult> {
  const { arrivals, engines, vms, ownership, abilities, shadows, metrics } = dependencies;
  const { id, cancel, confirm, teller } = how;
  const destination = dependencies.destination(request.destination);
  const why = `migration ${id} to ${request.destination}`;
  return vms.hold(
    request.vm,
    why,
    (source) =>
      withJournal(dependencies, id, async (journal, unwritten) => {
        refuseBusy(journal, request.vm);
        const degraded = degradedOf(request.vm, journal, arrivals);
        if (degraded !== undefined) throw degradedVm(degraded);
        const { result, destinationVm } = await engines.migrate(request, {
          ...{ id, journal, unwritten, ownership, abilities, shadows, source, destination, cancel, confirm },
          peer: destination,
          emit: teller.emit,
        });
        ended(result);
        metrics.ended(result);
        // another daemon drives it; where this process does, as in tests, nothing keeps its connections
        if (destinationVm !== undefined) await disconnectVm(destinationVm);
        if (await hasLeft(dependencies, result)) vms.left(request.vm, `it moved to ${request.destination}`);
        return result;
      }),
    cancel,
  );
}

async function performSwap(
  request: SwapRequest,
  dependencies: PerformDependencies,
  how: Pick<Attempt, 'id' | 'cancel'> & { teller: Pick<Teller, 'emit'> },
  ended: (result: MigrationResult) => void,
): Promise<void> {
  const { engines, vms, ownership, abilities, shadows, metrics } = dependencies;
  const { id, cancel, teller } = how;
  await vms.hold(
    request.vm,
    `${request.kind} ${id}`,
    (vm) =>
      withJournal(dependencies, id, async (journal, unwritten) => {
        refuseBusy(journal, request.vm);
        const given = { id, vm, ownership, journal, unwritten, abilities, shadows, cancel };
        const result = await engines.swap(request, { ...given, emit: teller.emit });
        ended(result);
        metrics.ended(result);
      }),
    cancel,
  );
}

/**
 * Performs an attempt. What makes it impossible before it begins stands in the journal too, or puts it back.
 * @throws what is a defect, and JOURNAL_UNWRITABLE
 */
export async function performAttempt(
  attempt: Attempt,
  teller: Teller,
  dependencies: PerformDependencies,
): Promise<void> {
  const { job, id, cancel, confirm, outcome } = attempt;
  const { work } = job;
  let began = false;
  const ended = (result: MigrationResult) => {
    began = true;
    const { error } = result;
    const cancelled = result.ending === 'rolled-back' && error?.code === 'CANCELLED';
    const why = whyAgain(result, work, job.putBacks);
    outcome(why === undefined ? { kind: 'ended', cancelled } : { kind: 'again', why });
  };
  try {
    if (work.kind === 'migration')
      await performMigration(work.request, dependencies, { id, cancel, confirm, teller }, ended);
    else await performSwap(work.request, dependencies, { id, cancel, teller }, ended);
  } catch (thrown) {
    const journal = dependencies.openJournal();
    try {
      // what stands in the journal is for whoever recovers
      if (began || journal.find(id) !== undefined) throw thrown;
      const error =
        cancel.aborted && toShadowferryError(thrown).code !== 'INTERNAL'
          ? new ShadowferryError('CANCELLED', { phase: 'preflight' }, { cause: thrown })
          : toShadowferryError(thrown);
      const why = again(error);
      if (why !== undefined) return outcome({ kind: 'again', why });
      const { vm, source, destination } = job;
      journalNeverBegan(journal, { id, vm, source, destination, request: work.request }, error);
      outcome({ kind: 'ended', cancelled: error.code === 'CANCELLED' });
    } finally {
      journal.dispose();
    }
  }
}
