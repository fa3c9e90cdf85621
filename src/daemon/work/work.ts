/** What a daemon does with VMs that takes long: migrations, swaps and rescues, queued and recovered; and attach. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { deadline } from '../../base/deadline.ts';
import { type ErrorCode, reasonOf, ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { type Arrivals, degradedOf } from '../../migration/degraded.ts';
import type { DestinationHost } from '../../migration/destination/destination.ts';
import { refuseBusy } from '../../migration/history.ts';
import { newId } from '../../migration/id.ts';
import { Journal, type JournalMigration } from '../../migration/journal.ts';
import type { DestinationPeer } from '../../migration/protocol/peer.ts';
import type { Place } from '../../migration/queue/queue.ts';
import { reattach } from '../../migration/reattach.ts';
import type { RecoverMigration } from '../../migration/recovery/model.ts';
import { Limits, type MigrationRequest } from '../../migration/request.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { Reattachment } from '../api/model.ts';
import type { JobView } from '../services/migrations.ts';
import type { VmState } from '../vms/registry.ts';
import { attemptId, type Job, jobOfAttempt, type Work as WorkOfJob } from './job.ts';
import { JobStore } from './job-store.ts';
import { LateWrites } from './late-writes.ts';
import {
  ENGINES,
  type Engines,
  journalNeverBegan,
  type PerformDependencies,
  performAttempt,
  performMigration,
  type VmKeeper,
} from './perform.ts';
import { Recoveries, type VmLender } from './recoveries.ts';
import { type Attempt, Scheduler, type SchedulerLimits } from './scheduler.ts';
import { type Progress, type Publish, Teller } from './tell.ts';
import { makeWorkMetrics, type WorkMetrics } from './work-metrics.ts';

/** What is needed of the registry of VMs. */
export interface Vms extends VmKeeper, VmLender {
  has(name: string): boolean;
  /** Who works with it; null: nobody. */
  busy(name: string): string | null;
  /** @throws UNKNOWN_VM */
  get(name: string): { state: VmState; why?: string };
}

/** The daemons of other hosts by name. @throws UNKNOWN_HOST */
export type Destinations = (name: string) => DestinationHost & DestinationPeer;

export interface WorkOptions {
  host: Host;
  paths: { journal: string; queue: string };
  limits: SchedulerLimits;
  vms: Vms;
  destinations: Destinations;
  recover: RecoverMigration;
  /** What came here from other hosts, for who mends what is left of it. */
  arrivals?: Arrivals | undefined;
  engines?: Engines;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  shadows: ShadowStore;
  publish: Publish;
  log: Logger;
  registry: Registry;
}

/** Who asks for something. */
export interface Asker {
  principal: string;
  key: string | undefined;
}

const STORE_MS = 5_000;
/** A dry run is answered within one request: a client waits a minute. */
const PLAN_MS = 50_000;

/** Whether the journal's end of an attempt says that it is to be tried again. */
function wasRefused(journal: Journal, id: string): boolean {
  const busy: ErrorCode = 'DESTINATION_BUSY';
  return journal.notes(id).some(({ kind, text }) => kind === 'error' && text.startsWith(`${busy}: `));
}

export class Work implements JobView {
  readonly metrics: WorkMetrics;
  readonly #options: WorkOptions;
  readonly #journal: Journal;
  readonly #store: JobStore;
  readonly #scheduler: Scheduler;
  readonly #recoveries: Recoveries;
  readonly #performing: PerformDependencies;
  readonly #late: LateWrites;
  readonly #tellers = new Map<string, Teller>();
  #stopped: Promise<void> | undefined;

  /** @throws NewerSchemaError */
  constructor(options: WorkOptions) {
    this.#options = options;
    const { host, paths, limits, vms, destinations, recover, ownership, publish, log } = options;
    const { abilities, shadows } = options;
    this.metrics = makeWorkMetrics(options.registry);
    this.#store = new JobStore(paths.queue);
    this.#journal = new Journal(paths.journal);
    const openJournal = () => new Journal(paths.journal);
    const { engines = ENGINES, arrivals } = options;
    const late = new LateWrites({ log });
    this.#late = late;
    const common = { arrivals, engines, late, ownership, abilities, shadows, metrics: this.metrics };
    this.#performing = { ...common, host: host.name, vms, destination: destinations, openJournal };
    this.#recoveries = new Recoveries({
      ...{ vms, recover, openJournal, publish, log, metrics: this.metrics },
      ours: ({ id }) => this.#store.find(jobOfAttempt(id)) !== undefined,
      dependencies: ({ source, destination }) => ({
        ...{ ownership, abilities, shadows, host },
        ...(source === destination ? nobody(source) : both(destinations(destination))),
      }),
      ended: ({ id }) => this.#recovered(id),
    });
    this.#scheduler = new Scheduler({
      ...{ host: host.name, store: this.#store, limits, late, publish, log, metrics: this.metrics },
      perform: (attempt) => this.#perform(attempt),
      blocked: (job) => this.#blocked(job),
      used: (id) => this.#journal.find(id) !== undefined,
      neverBegan: ({ vm, source, destination, work }, id, error) =>
        this.#neverBegan({ id, vm, source, destination, request: work.request }, error),
      broken: (job, id, error) => this.#broken(job, id, error),
    });
  }

  /**
   * Takes up what an earlier process left, open migrations first, and then the queue. Returns when they are begun; they
   * may take long.
   */
  start(): void {
    for (const job of this.#scheduler.interrupted()) {
      const id = attemptId(job.id, job.attempts);
      const entry = this.#journal.find(id);
      if (entry?.ending === null) this.#recoveries.begin(entry);
      else if (entry !== undefined) this.#over(job, id);
      else if (job.work.request.dryRun) this.#scheduler.conclude(job);
      else this.#scheduler.resume(job, 'the daemon ended before it began');
    }
    this.#scheduler.start();
  }

  /**
   * Takes nothing new, takes back what is not handed over, and waits for the rest.
   * @param boundMs what lasts longer is left as it is: the next process recovers it
   */
  stop(boundMs: number): Promise<void> {
    this.#stopped ??= this.#stop(boundMs);
    return this.#stopped;
  }

  /** Resolves when no recovery is under way. */
  recovered(): Promise<void> {
    return this.#recoveries.idle();
  }

  /**
   * Accepts a migration: it is on disk when this resolves.
   * @throws SAME_HOST, UNKNOWN_HOST, UNKNOWN_VM, VM_STATE, QUEUE_FULL, QUEUE_SHARE, STORE_UNREACHABLE
   */
  async migrate(
    request: MigrationRequest,
    how: { hold: boolean; whenItComes: boolean },
    asker: Asker,
  ): Promise<string> {
    await this.#check(request, how.whenItComes);
    const work: WorkOfJob = { kind: 'migration', request, ...how };
    return this.#scheduler.submit(work, { id: newId('migration'), ...asker }).id;
  }

  /** Looks and plans only. @returns its id in the journal @throws like `migrate`, and VM_BUSY */
  async plan(request: MigrationRequest, asker: Asker): Promise<string> {
    await this.#check(request, false);
    const id = newId('migration');
    const work: WorkOfJob = { kind: 'migration', request, hold: false, whenItComes: false };
    const ended = this.#scheduler.atOnce(work, { id, ...asker });
    const cancel = deadline('the plan', PLAN_MS);
    const teller = this.#teller({ id, attempt: id, vm: request.vm });
    const how = { id, cancel, teller, confirm: undefined };
    try {
      await performMigration({ ...request, dryRun: true }, this.#performing, how, () => {});
      return id;
    } finally {
      ended();
    }
  }

  /** Accepts a swap or rescue. @throws UNKNOWN_VM, VM_STATE, QUEUE_FULL, QUEUE_SHARE */
  swap(work: Exclude<WorkOfJob, { kind: 'migration' }>, asker: Asker): string {
    this.#mustBeHere(work.request.vm);
    return this.#scheduler.submit(work, { id: newId(work.kind), ...asker }).id;
  }

  /** Tries again to give a VM its devices. @throws VM_BUSY, MIGRATION_BUSY, DEGRADED, PROGRAM_LOST */
  async attach(vm: string, attachMs: number): Promise<Reattachment> {
    const { arrivals, ownership, abilities, shadows } = this.#options;
    const limits = Limits.parse({ attachMs });
    const said: string[] = [];
    const done = await this.#options.vms.hold(vm, 'attach', async (running) => {
      refuseBusy(this.#journal, vm);
      const say = (line: string) => void said.push(line);
      const journals = { journal: this.#journal, arrivals };
      return reattach({ ...{ vm: running, ownership, abilities, shadows, limits, say }, ...journals });
    });
    return {
      ...{ vm, migration: done.migration ?? null, said },
      nics: done.nics.map(({ outcomes, ...nic }) => ({ ...nic, outcomes })),
    };
  }

  /** A VM was booted here with its devices: nothing is left of a move that had left it without. */
  startedAnew(vm: string): void {
    const degraded = degradedOf(vm, this.#journal, this.#options.arrivals);
    try {
      degraded?.mended('the VM was started anew');
    } catch (error) {
      // it runs with all that it has; `attach` finds nothing missing
      this.#options.log.warn({ err: error, vm }, 'the journal still calls the VM degraded');
    }
  }

  /** @throws CANCEL_LATE for what is not in this process's hands */
  cancel(id: string): void {
    if (this.#scheduler.cancel(id)) return;
    const recovering = this.#journal.find(id)?.ending === null;
    const why = recovering
      ? 'the daemon that began it ended, and it is being taken to its end, back or forward'
      : 'it has ended';
    throw new ShadowferryError('CANCEL_LATE', { id, why });
  }

  /** @throws NOT_HELD */
  confirm(id: string): void {
    this.#scheduler.confirm(id);
  }

  /** What an entry of the journal is to who asked for it. */
  nameOf({ id }: Pick<JournalMigration, 'id'>): { id: string; again: boolean } {
    const job = this.find(jobOfAttempt(id));
    if (job === undefined) return { id, again: false };
    return { id: job.id, again: job.state === 'waiting' || attemptId(job.id, job.attempts) !== id };
  }

  /** What a request with an idempotency key asked for, if it came so far. */
  byKey(principal: string, key: string): Job | undefined {
    return this.#store.byKey(principal, key);
  }

  open(): Job[] {
    return this.#scheduler.open();
  }

  find(id: string): Job | undefined {
    return this.#scheduler.find(id);
  }

  place(id: string): Place | undefined {
    return this.#scheduler.place(id);
  }

  isHeld(id: string): boolean {
    return this.#scheduler.isHeld(id);
  }

  progress(id: string): Progress | undefined {
    return this.#tellers.get(id)?.progress;
  }

  async #stop(boundMs: number): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, boundMs);
    await Promise.race([Promise.all([this.#scheduler.stop(), this.#recoveries.stop()]), late]);
    clearTimeout(timer);
    this.#late.stop();
    this.#store.dispose();
    this.#journal.dispose();
  }

  async #perform(attempt: Attempt): Promise<void> {
    const { job, id } = attempt;
    const teller = this.#teller({ id: job.id, attempt: id, vm: job.vm });
    this.#tellers.set(job.id, teller);
    try {
      await performAttempt(attempt, teller, this.#performing);
    } finally {
      this.#tellers.delete(job.id);
    }
  }

  #teller(about: { id: string; attempt: string; vm: string }): Teller {
    return new Teller(about, this.#options.publish, this.#options.log);
  }

  async #check({ vm, destination }: MigrationRequest, whenItComes: boolean): Promise<void> {
    const { host, vms, destinations, ownership } = this.#options;
    if (destination === host.name)
      throw new ShadowferryError('SAME_HOST', { field: 'destination', vm, value: destination });
    destinations(destination);
    if (!whenItComes) return this.#mustBeHere(vm);
    if (vms.has(vm)) return;
    const record = await ownership.read(vm, deadline('the ownership store', STORE_MS));
    if (record !== undefined) return;
    const allowed = 'VMs that a host owns';
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: vm, allowed });
  }

  /** @throws UNKNOWN_VM, VM_STATE */
  #mustBeHere(vm: string): void {
    const { state, why = 'it does not run here' } = this.#options.vms.get(vm);
    if (state === 'running' || state === 'paused') return;
    throw new ShadowferryError('VM_STATE', { vm, host: this.#options.host.name, state, why });
  }

  #blocked({ vm, work }: Pick<Job, 'vm' | 'work'>): string | undefined {
    const { vms, host } = this.#options;
    const recovering = this.#recoveries.under(vm);
    if (recovering !== undefined) return `migration ${recovering} of VM "${vm}" is being recovered`;
    const busy = vms.busy(vm);
    if (busy !== null) return `VM "${vm}" is busy: ${busy}`;
    if (work.kind !== 'migration' || !work.whenItComes) return undefined;
    const state = vms.has(vm) ? vms.get(vm).state : 'gone';
    return state === 'running' || state === 'paused'
      ? undefined
      : `VM "${vm}" has not come to ${host.name} yet`;
  }

  #neverBegan(about: Parameters<typeof journalNeverBegan>[1], error: ShadowferryError): void {
    // by a connection of its own, as whoever follows the journal sees only what others write
    const journal = new Journal(this.#options.paths.journal);
    try {
      journalNeverBegan(journal, about, error);
    } finally {
      journal.dispose();
    }
  }

  #broken(job: Job, id: string, error: unknown): void {
    const entry = this.#journal.find(id);
    if (entry === undefined) this.#scheduler.retry(job, reasonOf(error));
    else if (entry.ending === null) this.#recoveries.begin(entry);
    else this.#over(job, id);
  }

  /** A recovery has ended. */
  #recovered(id: string): void {
    const job = this.#scheduler.interrupted().find((each) => attemptId(each.id, each.attempts) === id);
    if (job !== undefined) this.#over(job, id);
  }

  /** The journal has how an attempt of an earlier process ended. */
  #over(job: Job, id: string): void {
    const again = this.#journal.find(id)?.ending === 'rolled-back' && wasRefused(this.#journal, id);
    if (again) this.#scheduler.resume(job, 'the destination was busy');
    else this.#scheduler.conclude(job);
  }
}

const both = (other: DestinationHost & DestinationPeer) => ({ destination: other, peer: other });

/** Of a swap: there is no other host. */
function nobody(name: string): {
  destination: Pick<DestinationHost, 'name' | 'answerUnreachable' | 'undo'>;
  peer: DestinationPeer;
} {
  const none = async (): Promise<never> => {
    throw new ShadowferryError('INTERNAL', { why: 'a swap has no other host' });
  };
  return { destination: { name, answerUnreachable: none, undo: none }, peer: { tell: none } };
}
