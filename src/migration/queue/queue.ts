/**
 * Which of the migrations that wait may begin, and why the others wait. Pure: the caller keeps the jobs, and asks again
 * whenever one comes, ends or may be tried again.
 *
 * Fairness is that of start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), twice: each principal has its turns,
 * and its VMs share them. What a job's turn is compared with is fixed when it comes, so that only a bounded number of
 * jobs can ever go before it, however many come after it.
 */

/** A job that waits. */
export interface WaitingJob {
  id: string;
  vm: string;
  /** Who asked. */
  principal: string;
  /** Hosts; the same one twice for what stays on it (a swap), which the limits of hosts and links do not concern. */
  source: string;
  destination: string;
  /** Grows with every job; jobs of one VM begin in this order, as one may need what the one before it has done. */
  seq: number;
  /** Its place among the turns of all principals, and of this principal among the turns of its VMs: see `Clock`. */
  slot: number;
  turn: number;
  /** Not before this time, ms since the epoch; 0 when it was not tried yet. */
  notBeforeMs: number;
  /** Why it was put back the last time; undefined when it was not tried yet. */
  putBack?: string | undefined;
}

/** What is under way. */
export type BusyJob = Pick<WaitingJob, 'id' | 'vm' | 'source' | 'destination'>;

export interface QueueLimits {
  /** Migrations that leave this host at once. */
  outgoing: number;
  /** Migrations from this host to one other at once. */
  link: number;
}

export interface QueueView<J extends WaitingJob = WaitingJob> {
  nowMs: number;
  waiting: readonly J[];
  running: readonly BusyJob[];
  /** Why the VM of a job cannot be taken now, as it is held or not here; undefined when it can. */
  blocked: (job: J) => string | undefined;
}

/** Where a job stands: `position` counts from 1, in the order in which jobs would begin if nothing else were in the way. */
export interface Place {
  id: string;
  position: number;
  reason: string;
}

export interface Survey<J extends WaitingJob = WaitingJob> {
  /** Jobs that may begin now, in this order; together they keep the limits. */
  start: J[];
  /** All others. */
  places: Place[];
  /** When to look again though nothing happened, ms since the epoch; undefined: never. */
  wakeMs: number | undefined;
}

/** The jobs in the order of their turns. */
export function inOrder<J extends WaitingJob>(waiting: readonly J[]): J[] {
  const of = Map.groupBy(waiting, ({ principal }) => principal);
  const placed = [...of.values()].flatMap((jobs) => {
    // the principal's turns stay where they are; which of its jobs takes which, its VMs decide
    const slots = jobs.map(({ slot }) => slot).sort((a, b) => a - b);
    const fair = jobs.toSorted((a, b) => a.turn - b.turn || a.seq - b.seq);
    return fair.map((job, n) => ({ job, slot: slots[n] ?? job.slot }));
  });
  return placed.toSorted((a, b) => a.slot - b.slot || a.job.seq - b.job.seq).map(({ job }) => job);
}

const isMove = ({ source, destination }: Pick<BusyJob, 'source' | 'destination'>) => source !== destination;

class Surveyor<J extends WaitingJob> {
  readonly #view: QueueView<J>;
  readonly #limits: QueueLimits;
  readonly #busy: BusyJob[];
  readonly #firstOf: ReadonlyMap<string, J>;

  constructor(view: QueueView<J>, limits: QueueLimits) {
    this.#view = view;
    this.#limits = limits;
    this.#busy = [...view.running];
    const bySeq = view.waiting.toSorted((a, b) => b.seq - a.seq);
    this.#firstOf = new Map(bySeq.map((job) => [job.vm, job]));
  }

  /** Why a job may not begin now; undefined when it may, and then it counts as begun. */
  take(job: J): string | undefined {
    const why = this.#why(job);
    if (why === undefined) this.#busy.push(job);
    return why;
  }

  #why(job: J): string | undefined {
    const { vm, source, destination, putBack, notBeforeMs } = job;
    const busy = this.#busy.find((other) => other.vm === vm);
    if (busy !== undefined) return `VM "${vm}" has one under way (${busy.id})`;
    const before = this.#firstOf.get(vm);
    if (before !== undefined && before.id !== job.id)
      return `${before.id} is about the same VM and came before it`;
    const blocked = this.#view.blocked(job);
    if (blocked !== undefined) return blocked;
    if (notBeforeMs > this.#view.nowMs) {
      const seconds = Math.ceil((notBeforeMs - this.#view.nowMs) / 1000);
      return `it is tried again in ${seconds} s: ${putBack ?? 'it was put back'}`;
    }
    if (!isMove(job)) return undefined;
    const moves = this.#busy.filter(isMove);
    const { outgoing, link } = this.#limits;
    const leaving = moves.filter((other) => other.source === source).length;
    if (leaving >= outgoing) return `${leaving} of ${outgoing} migrations leave ${source}`;
    const same = moves.filter((other) => other.source === source && other.destination === destination).length;
    return same < link ? undefined : `${same} of ${link} migrations go from ${source} to ${destination}`;
  }
}

/** Looks at the whole queue. */
export function survey<J extends WaitingJob>(view: QueueView<J>, limits: QueueLimits): Survey<J> {
  const surveyor = new Surveyor(view, limits);
  const start: J[] = [];
  const places: Place[] = [];
  for (const job of inOrder(view.waiting)) {
    const reason = surveyor.take(job);
    if (reason === undefined) start.push(job);
    else places.push({ id: job.id, position: places.length + 1, reason });
  }
  const later = view.waiting.map(({ notBeforeMs }) => notBeforeMs).filter((at) => at > view.nowMs);
  return { start, places, wakeMs: later.length === 0 ? undefined : Math.min(...later) };
}

/** Gives jobs their turns. It may be made anew at any time from the jobs that wait. */
export class Clock {
  /** The last turn that began, of all principals, and of the VMs of each. */
  #slot: number;
  readonly #turns = new Map<string, number>();

  constructor(waiting: readonly WaitingJob[] = []) {
    const least = (values: readonly number[]) => Math.min(...values) - 1;
    this.#slot = waiting.length === 0 ? 0 : least(waiting.map(({ slot }) => slot));
    for (const [principal, jobs] of Map.groupBy(waiting, (job) => job.principal))
      this.#turns.set(principal, least(jobs.map(({ turn }) => turn)));
  }

  /** The turn of a job that comes: after those of the same principal, and of the same VM of it, that wait already. */
  next(
    waiting: readonly WaitingJob[],
    { principal, vm }: Pick<WaitingJob, 'principal' | 'vm'>,
  ): Pick<WaitingJob, 'slot' | 'turn'> {
    const mine = waiting.filter((job) => job.principal === principal);
    const same = mine.filter((job) => job.vm === vm);
    return {
      slot: Math.max(this.#slot, ...mine.map(({ slot }) => slot)) + 1,
      turn: Math.max(this.#turns.get(principal) ?? 0, ...same.map(({ turn }) => turn)) + 1,
    };
  }

  /** A job begins. */
  began({ principal, slot, turn }: Pick<WaitingJob, 'principal' | 'slot' | 'turn'>): void {
    this.#slot = Math.max(this.#slot, slot);
    this.#turns.set(principal, Math.max(this.#turns.get(principal) ?? 0, turn));
  }
}

/** First and longest pause before a job that was put back is tried again, ms. */
export const BACKOFF_MS = { first: 500, most: 15_000 } as const;

/**
 * How long to wait before a job is tried again, ms: twice as long each time, and not the same for two hosts that wait
 * for each other.
 * @param times how often it was put back already @param random from 0 to 1
 */
export function backoffMs(times: number, random: number): number {
  const full = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(times, 16));
  return Math.round(full * (0.5 + random / 2));
}
