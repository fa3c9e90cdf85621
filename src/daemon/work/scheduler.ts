/**
 * Takes jobs from the queue and has them performed, as many at once as the limits allow. What it decides is in
 * `migration/queue`; what a job does is given to it. The queue is on disk, so a daemon that starts goes on with it.
 */
import type { Logger } from 'pino';
import { raceSignal } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import {
  backoffMs,
  Clock,
  type Place,
  type QueueLimits,
  survey,
  type WaitingJob,
} from '../../migration/queue/queue.ts';
import { attemptId, type Job, type Work } from './job.ts';
import type { JobStore } from './job-store.ts';
import type { LateWrites } from './late-writes.ts';
import type { WorkMetrics } from './work-metrics.ts';

/** How an attempt came out. */
export type Outcome =
  /** It could not begin, or was refused before anything was touched: it waits and is tried again. */
  | { kind: 'again'; why: string }
  /** The journal has how. `cancelled`: it was taken back because it was asked to. */
  | { kind: 'ended'; cancelled: boolean };

/** One try of a job. */
export interface Attempt {
  job: Job;
  /** In the journal, and in the hand-over. */
  id: string;
  /** Heeded until the commit. */
  cancel: AbortSignal;
  /** To be asked before the hand-over, where that was wished. */
  confirm: (() => Promise<void>) | undefined;
  /** To be called once, at once when it is known how it came out, before anybody can look at the journal. */
  outcome: (outcome: Outcome) => void;
}

export interface SchedulerLimits extends QueueLimits {
  /** Jobs that may wait, of all and of one principal. */
  waiting: number;
  waitingPerPrincipal: number;
}

export interface SchedulerOptions {
  host: string;
  store: JobStore;
  limits: SchedulerLimits;
  /** Performs an attempt. What it throws without an outcome is a defect or a journal that cannot be written. */
  perform: (attempt: Attempt) => Promise<void>;
  /** Why the VM of a job cannot be taken now. */
  blocked: (job: WaitingJob & { work: Work }) => string | undefined;
  /** Whether an id stands in the journal: such an id is used up. */
  used: (id: string) => boolean;
  /** Writes the end of a job that never began into the journal. */
  neverBegan: (job: Job, id: string, error: ShadowferryError) => void;
  /** An attempt broke off without an outcome: whoever recovers open migrations sees to it. */
  broken: (job: Job, id: string, error: unknown) => void;
  /** What the disk did not take now is written later. */
  late: LateWrites;
  publish: (type: string, data: Record<string, unknown>) => void;
  metrics: WorkMetrics;
  log: Logger;
  nowMs?: () => number;
  random?: () => number;
}

interface Running {
  job: Job;
  id: string;
  cancel: AbortController;
  /** Lets a job go on that waits for a confirmation. */
  release: (() => void) | undefined;
  outcome: Outcome | undefined;
  done: Promise<void>;
}

/** What a VM is held by, or whether it has come, is not told by anybody: it is looked at so often while a job waits. */
const LOOK_MS = 1_000;

/** What is kept of a new job besides what it is to do. */
export interface Asked {
  id: string;
  principal: string;
  /** The idempotency key of the request. */
  key: string | undefined;
}

const hostsOf = (host: string, work: Work) => ({
  source: host,
  destination: work.kind === 'migration' ? work.request.destination : host,
});

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #nowMs: () => number;
  readonly #waiting = new Map<string, Job>();
  readonly #running = new Map<string, Running>();
  #clock: Clock;
  #places = new Map<string, Place>();
  #timer: NodeJS.Timeout | undefined;
  #started = false;
  #stopping = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
    for (const job of options.store.open()) if (job.state === 'waiting') this.#waiting.set(job.id, job);
    this.#clock = new Clock([...this.#waiting.values()]);
  }

  /** Jobs that were under way when an earlier process ended: to be judged by the journal, before `start`. */
  interrupted(): Job[] {
    return this.#options.store
      .open()
      .filter(({ state, id }) => state === 'running' && !this.#running.has(id));
  }

  /** Begins to take jobs. */
  start(): void {
    this.#started = true;
    this.pump();
  }

  /**
   * Accepts a job: when this returns it is on disk.
   * @throws QUEUE_FULL, QUEUE_SHARE
   */
  submit(work: Work, { id, principal, key }: Asked): Job {
    const { host, limits, store, publish } = this.#options;
    const waiting = [...this.#waiting.values()];
    if (waiting.length >= limits.waiting) {
      this.#options.metrics.refused.inc({ why: 'full' });
      throw new ShadowferryError('QUEUE_FULL', { host, max: limits.waiting });
    }
    if (waiting.filter((job) => job.principal === principal).length >= limits.waitingPerPrincipal) {
      this.#options.metrics.refused.inc({ why: 'share' });
      const max = limits.waitingPerPrincipal;
      throw new ShadowferryError('QUEUE_SHARE', { host, principal, max });
    }
    const { vm } = work.request;
    const about = { id, vm, principal, work, createdMs: this.#nowMs(), ...hostsOf(host, work) };
    const job = store.add({ ...about, ...this.#clock.next(waiting, { principal, vm }) }, key);
    this.#waiting.set(id, job);
    publish('migration.queued', { id, vm, kind: work.kind, source: host, destination: job.destination });
    this.pump();
    return job;
  }

  /**
   * Keeps what is done at once, and does not wait: a later process finds it if this one ends.
   * @returns to be called when it has ended
   */
  atOnce(work: Work, { id, principal, key }: Asked): () => void {
    const { host, store } = this.#options;
    const about = {
      id,
      vm: work.request.vm,
      principal,
      work,
      createdMs: this.#nowMs(),
      ...hostsOf(host, work),
    };
    const job = store.add({ ...about, slot: 0, turn: 0 }, key);
    store.begin(id, 1);
    return () => this.#end(job);
  }

  /** Puts a job that was under way into the queue again, with the place that it had. */
  resume(job: Job, why: string): void {
    this.#putBack(job, why, false);
    this.pump();
  }

  /** Puts a job that broke off before it began into the queue again, with a pause. */
  retry(job: Job, why: string): void {
    this.#putBack(job, why, true);
  }

  /** A job that was under way before is over; the journal has how. */
  conclude(job: Job): void {
    this.#options.store.end(job.id, this.#nowMs());
  }

  /** A job by the id that was given to who asked. */
  find(id: string): Job | undefined {
    return this.#waiting.get(id) ?? this.#running.get(id)?.job ?? this.#options.store.find(id);
  }

  /** All that wait, in the order of their turns. */
  waiting(): Job[] {
    const position = ({ id }: Job) => this.#places.get(id)?.position ?? 0;
    return [...this.#waiting.values()].sort((a, b) => position(a) - position(b));
  }

  /** All that wait or are under way. */
  open(): Job[] {
    return [...this.waiting(), ...[...this.#running.values()].map(({ job }) => job)];
  }

  /** Where a waiting job stands; undefined for one that does not wait. */
  place(id: string): Place | undefined {
    if (!this.#waiting.has(id)) return undefined;
    return this.#places.get(id) ?? { id, position: 1, reason: 'it is looked at next' };
  }

  /** Whether an attempt of a job is under way in this process. */
  runs(id: string): boolean {
    return this.#running.has(id);
  }

  /** Whether it waits for a confirmation. */
  isHeld(id: string): boolean {
    return this.#running.get(id)?.release !== undefined;
  }

  /**
   * Cancels a job: one that waits is over at once; one that is under way goes back, unless it was handed over meanwhile.
   * @returns whether it was known here
   */
  cancel(id: string): boolean {
    const running = this.#running.get(id);
    if (running !== undefined) {
      running.cancel.abort(new ShadowferryError('CANCELLED', { phase: 'any' }));
      return true;
    }
    const job = this.#waiting.get(id);
    if (job === undefined) return false;
    const attempt = this.#nextAttempt(job);
    this.#options.neverBegan(
      job,
      attemptId(id, attempt),
      new ShadowferryError('CANCELLED', { phase: 'queue' }),
    );
    this.#options.store.begin(id, attempt);
    this.#options.store.end(id, this.#nowMs());
    this.#waiting.delete(id);
    this.pump();
    return true;
  }

  /** Lets a job go on that waits before its hand-over. @throws NOT_HELD */
  confirm(id: string): void {
    const running = this.#running.get(id);
    if (running?.release === undefined) {
      const why =
        running === undefined ? 'it is not under way' : 'it has not come so far, or goes on already';
      throw new ShadowferryError('NOT_HELD', { id, why });
    }
    running.release();
  }

  /** Looks whether anything may begin. */
  pump(): void {
    clearTimeout(this.#timer);
    if (!this.#started || this.#stopping) return;
    const { limits, blocked, metrics } = this.#options;
    const running = [...this.#running.values()].map(({ job }) => job);
    const waiting = [...this.#waiting.values()];
    const found = survey({ nowMs: this.#nowMs(), waiting, running, blocked }, limits);
    this.#places = new Map(found.places.map((place) => [place.id, place]));
    for (const job of found.start) this.#begin(job);
    metrics.waiting.set(this.#waiting.size);
    metrics.running.set(this.#running.size);
    if (this.#waiting.size === 0) return;
    const wake = Math.min(LOOK_MS, (found.wakeMs ?? Number.POSITIVE_INFINITY) - this.#nowMs());
    this.#timer = setTimeout(() => this.pump(), Math.max(1, wake)).unref();
  }

  /**
   * Takes no new jobs. Those under way that are not handed over go back, and are taken up by the next process; those that
   * are handed over go on.
   * @returns when none is under way any more
   */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    for (const { cancel } of this.#running.values()) cancel.abort(STOPPING);
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  /** The attempt that comes: an id that stands in the journal is used up. */
  #nextAttempt({ id, attempts }: Job): number {
    let next = Math.max(1, attempts);
    while (this.#options.used(attemptId(id, next))) next += 1;
    return next;
  }

  #begin(job: Job): void {
    const { store, metrics, publish } = this.#options;
    const attempts = this.#nextAttempt(job);
    const id = attemptId(job.id, attempts);
    try {
      store.begin(job.id, attempts);
    } catch (error) {
      // nothing has begun: it keeps its place until the disk takes it
      this.#delay(job, `the queue cannot be written: ${reasonOf(error)}`);
      return;
    }
    if (job.putBacks === 0) metrics.waited.observe((this.#nowMs() - job.createdMs) / 1000);
    this.#waiting.delete(job.id);
    this.#clock.began(job);
    const cancel = new AbortController();
    const running: Running = {
      job: { ...job, state: 'running', attempts },
      ...{ id, cancel, release: undefined, outcome: undefined, done: Promise.resolve() },
    };
    this.#running.set(job.id, running);
    publish('migration.started', { id: job.id, attempt: id, vm: job.vm });
    running.done = this.#run(running);
  }

  async #run(running: Running): Promise<void> {
    const { job, id, cancel } = running;
    const { perform, broken, log } = this.#options;
    const hold = job.work.kind === 'migration' && job.work.hold;
    try {
      await perform({
        ...{ job, id },
        cancel: cancel.signal,
        confirm: hold ? () => this.#ask(running) : undefined,
        outcome: (outcome) => this.#settle(running, outcome),
      });
      if (running.outcome === undefined) throw new Error('an attempt ended without an outcome');
    } catch (error) {
      log.error({ err: error, migration: job.id, attempt: id }, 'migration broke off');
      if (running.outcome === undefined) broken(running.job, id, error);
    } finally {
      this.#running.delete(job.id);
      const byUser = cancel.signal.aborted && cancel.signal.reason !== STOPPING;
      if (byUser && this.#waiting.has(job.id)) this.#cancelSurely(job);
      this.pump();
    }
  }

  /** It was put back while it was cancelled. */
  #cancelSurely(job: Job): void {
    this.#write(job, () => void this.cancel(job.id));
  }

  async #ask(running: Running): Promise<void> {
    const { job, cancel } = running;
    const answer = new Promise<void>((resolve) => {
      running.release = resolve;
    });
    this.#options.publish('migration.held', { id: job.id, vm: job.vm });
    try {
      await raceSignal(answer, cancel.signal);
    } finally {
      running.release = undefined;
    }
  }

  #settle(running: Running, outcome: Outcome): void {
    if (running.outcome !== undefined) return;
    running.outcome = outcome;
    const { job, cancel } = running;
    const stopped = outcome.kind === 'ended' && outcome.cancelled && cancel.signal.reason === STOPPING;
    if (stopped) this.#putBack(job, 'the daemon was stopped', false);
    else if (outcome.kind === 'again') this.#putBack(job, outcome.why, true);
    else this.#end(job);
  }

  /** Nothing of the queue changes a job that has ended, so that this may come late. */
  #end({ id }: Job): void {
    const { store, late, log } = this.#options;
    const write = () => store.end(id, this.#nowMs());
    try {
      write();
    } catch (error) {
      log.error({ err: error, migration: id }, 'the queue cannot be written');
      late.add(`the end of ${id} in the queue`, write);
    }
  }

  #putBack(job: Job, why: string, delayed: boolean): void {
    const { store, publish, metrics, random = Math.random } = this.#options;
    const pause = delayed ? backoffMs(job.putBacks, random()) : 0;
    const notBeforeMs = this.#nowMs() + pause;
    const putBacks = job.putBacks + 1;
    this.#waiting.set(job.id, { ...job, state: 'waiting', putBacks, notBeforeMs, putBack: why });
    this.#write(job, () => store.putBack(job.id, putBacks, notBeforeMs, why));
    metrics.retries.inc();
    publish('migration.requeued', { id: job.id, vm: job.vm, why, notBeforeMs });
  }

  /** What cannot be written is known in memory, and after a crash it is judged by the journal. */
  #write(job: Job, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#options.log.error({ err: error, migration: job.id }, 'the queue cannot be written');
    }
  }

  /** Waits a moment, in memory only. */
  #delay(job: Job, why: string): void {
    this.#options.log.error({ migration: job.id }, why);
    this.#waiting.set(job.id, { ...job, notBeforeMs: this.#nowMs() + LOOK_MS, putBack: why });
  }
}

/** Why a daemon that stops takes a migration back. */
const STOPPING = new ShadowferryError('CANCELLED', { phase: 'any' });
