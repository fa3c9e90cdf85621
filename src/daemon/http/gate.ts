/**
 * The way in for requests. The daemon has one thread, which also carries migrations: while a VM is being handed over and
 * its traffic waits, every request that is answered in between makes that longer. So requests pass a few at a time, in
 * turn by who asks, and the loop looks at everything else between; and while something is urgent they pass slowly.
 */
import { ShadowferryError } from '../../errors.ts';

/** Requests that pass in one turn of the event loop. */
const PER_TURN = 2;
/** While something is urgent one request passes in so many ms: who looks now and then hardly notices. */
const SLOW_MS = 50;
/** So long a request waits at most while something is urgent; then it is answered that now is not the time. */
const WAIT_MS = 2_000;
/** Nothing is urgent for longer: who said so may have forgotten it. */
const URGENT_MS = 10_000;
/** Requests that wait; a connection has one or few of them, and connections are limited. */
const WAITING = 2_048;
/** For the header "retry-after", s. */
export const RETRY_SECONDS = 1;

interface Waiting {
  sinceMs: number;
  pass: () => void;
  refuse: (error: unknown) => void;
}

const busy = () => new ShadowferryError('HAND_OVER_FIRST', { seconds: RETRY_SECONDS });

export class Gate {
  readonly #nowMs: () => number;
  /** Who waits, by who asks; whose turn it is next comes first. */
  readonly #lines = new Map<string, Waiting[]>();
  /** What is urgent, and until when at most. */
  readonly #urgent = new Map<string, number>();
  #waiting = 0;
  #passed = 0;
  #turn: NodeJS.Immediate | undefined;
  #slow: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** How many wait, for figures. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Something begins to be urgent, or goes on to be; or is so no more. */
  urgent(id: string, is: boolean): void {
    if (is) this.#urgent.set(id, this.#nowMs() + URGENT_MS);
    else this.#urgent.delete(id);
    if (!this.#isUrgent()) this.#open();
  }

  /** From here on nobody waits: the daemon stops, and answers what it has begun. */
  close(): void {
    this.#closed = true;
    this.#open();
  }

  /**
   * Lets a request in: at once where nothing stands against it, which is then undefined, so that no turn is lost.
   * @throws HAND_OVER_FIRST
   */
  enter(principal: string): Promise<void> | undefined {
    if (this.#waiting === 0 && !this.#isUrgent() && this.#passed < PER_TURN) {
      this.#pass();
      return undefined;
    }
    if (this.#waiting >= WAITING) throw busy();
    const { promise, resolve: pass, reject: refuse } = Promise.withResolvers<void>();
    const line = this.#lines.get(principal) ?? [];
    line.push({ sinceMs: this.#nowMs(), pass, refuse });
    this.#lines.set(principal, line);
    this.#waiting += 1;
    this.#nextTurn();
    return promise;
  }

  #isUrgent(): boolean {
    if (this.#closed || this.#urgent.size === 0) return false;
    const now = this.#nowMs();
    for (const [id, until] of this.#urgent) if (until <= now) this.#urgent.delete(id);
    return this.#urgent.size > 0;
  }

  #pass(): void {
    this.#passed += 1;
    this.#nextTurn();
  }

  /** The next ones pass when the loop has looked at everything else once. */
  #nextTurn(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#passed = 0;
      if (this.#isUrgent()) {
        if (this.#waiting > 0) this.#slow ??= setInterval(() => this.#slowly(), SLOW_MS);
        return;
      }
      while (this.#passed < PER_TURN) {
        const next = this.#take();
        if (next === undefined) return;
        this.#pass();
        next.pass();
      }
    });
  }

  #slowly(): void {
    if (!this.#isUrgent()) {
      this.#open();
      return;
    }
    const late = this.#nowMs() - WAIT_MS;
    for (const [principal, line] of this.#lines) {
      const many = line.findIndex(({ sinceMs }) => sinceMs > late);
      const over = line.splice(0, many < 0 ? line.length : many);
      if (line.length === 0) this.#lines.delete(principal);
      this.#waiting -= over.length;
      for (const { refuse } of over) refuse(busy());
    }
    this.#take()?.pass();
    if (this.#waiting === 0) this.#endSlow();
  }

  #open(): void {
    this.#endSlow();
    if (this.#waiting > 0) this.#nextTurn();
  }

  #endSlow(): void {
    clearInterval(this.#slow);
    this.#slow = undefined;
  }

  /** The first of the line whose turn it is; that line comes last then. */
  #take(): Waiting | undefined {
    const [first] = this.#lines;
    if (first === undefined) return undefined;
    const [principal, line] = first;
    this.#lines.delete(principal);
    const next = line.shift();
    if (line.length > 0) this.#lines.set(principal, line);
    if (next !== undefined) this.#waiting -= 1;
    return next;
  }
}
