/** How fast a reorganisation goes: a cap on its bandwidth, and a pause. */
import { setTimeout as delay } from 'node:timers/promises';

/** Longest wait before the pause is looked at again, ms. */
const SLICE_MS = 200;

/** Holds back whoever copies. One for all moves of a reorganisation. */
export class Pace {
  readonly bytesPerSecond: number | undefined;
  #resumed: PromiseWithResolvers<void> | undefined;
  #listeners = new Set<(paused: boolean) => void>();
  /** Moment at which all that was copied is paid for, ms of `performance.now`. */
  #paidAt = 0;

  constructor(bytesPerSecond?: number) {
    this.bytesPerSecond = bytesPerSecond;
  }

  get paused(): boolean {
    return this.#resumed !== undefined;
  }

  pause(): void {
    if (this.#resumed !== undefined) return;
    this.#resumed = Promise.withResolvers();
    for (const listener of this.#listeners) listener(true);
  }

  resume(): void {
    this.#resumed?.resolve();
    this.#resumed = undefined;
    for (const listener of this.#listeners) listener(false);
  }

  /** Calls `listener` on each pause and resumption; returns the way to stop. For copies that others make. */
  on(listener: (paused: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Returns when `bytes` more may be copied. @throws the signal's reason */
  async before(bytes: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#resumed !== undefined) {
        const aborted = Promise.withResolvers<void>();
        const wake = () => aborted.resolve();
        signal.addEventListener('abort', wake, { once: true });
        await Promise.race([this.#resumed.promise, aborted.promise]);
        signal.removeEventListener('abort', wake);
        continue;
      }
      const wait = this.#paidAt - performance.now();
      if (wait <= 0) break;
      await delay(Math.min(wait, SLICE_MS), undefined, { signal });
    }
    if (this.bytesPerSecond === undefined) return;
    this.#paidAt = Math.max(this.#paidAt, performance.now()) + (bytes / this.bytesPerSecond) * 1000;
  }
}
