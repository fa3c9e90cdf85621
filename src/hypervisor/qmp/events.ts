/**
 * Events, apart from replies: listeners that see every event and waiters that take the first that matches.
 */
import { ShadowferryError } from '../../errors.ts';

/** One event of QEMU. */
export interface QmpEvent {
  name: string;
  data: Record<string, unknown>;
  /** QEMU's own time, ms since the epoch (of its host's clock); `undefined` when it had none. */
  qemuTimeMs: number | undefined;
  /** When it was read from the socket: ms since the epoch, monotonic and with fractions. */
  arrivedMs: number;
}

/** One event name, several, or a test of the event itself. */
export type EventMatch = string | readonly string[] | ((event: QmpEvent) => boolean);

export interface WaitOptions {
  /** Rejects the waiter with the signal's reason. */
  signal?: AbortSignal;
  /**
   * What happens when the connection is lost or re-made: events may be missed in between, so the default is to
   * reject; `keep` waits on over the next connection (until the signal, `dispose` or the client's `close`).
   */
  onDisconnect?: 'reject' | 'keep';
}

/**
 * A wait that began when this was made: make it before the command that triggers the event.
 * `promise` never counts as an unhandled rejection, so a waiter may be dropped at any time.
 */
export interface EventWaiter extends Disposable {
  readonly promise: Promise<QmpEvent>;
  /** Stops waiting; a promise still pending rejects (for those who do await it). */
  dispose(): void;
}

interface Waiter {
  matches: (event: QmpEvent) => boolean;
  resolve: (event: QmpEvent) => void;
  reject: (reason: unknown) => void;
  keep: boolean;
}

export type EventListener = (event: QmpEvent) => void;

/** Hands each event to listeners and waiters, in the order of the wire. */
export class EventHub {
  readonly #listeners = new Map<string, Set<EventListener>>();
  readonly #waiters = new Set<Waiter>();

  /** Calls `listener` on each event of that name (`*`: of any) until the returned function is called. */
  on(name: string, listener: EventListener): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // A wrapper of its own, so that one function may listen twice.
    const entry: EventListener = (event) => listener(event);
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
    };
  }

  waitFor(match: EventMatch, options: WaitOptions = {}): EventWaiter {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    promise.catch(() => {}); // a waiter nobody awaits any more must not end the process
    const { signal } = options;
    const end = () => {
      this.#waiters.delete(waiter);
      signal?.removeEventListener('abort', onAbort);
    };
    const waiter: Waiter = {
      matches: matcher(match),
      keep: options.onDisconnect === 'keep',
      resolve: (event) => {
        end();
        resolve(event);
      },
      reject: (reason) => {
        end();
        reject(reason);
      },
    };
    const onAbort = () => waiter.reject(signal?.reason);
    const dispose = () => {
      if (this.#waiters.has(waiter)) {
        waiter.reject(new ShadowferryError('INTERNAL', { why: 'a wait for an event was disposed of' }));
      }
    };
    if (signal?.aborted) reject(signal.reason);
    else {
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
    }
    return { promise, dispose, [Symbol.dispose]: dispose };
  }

  emit(event: QmpEvent): void {
    for (const waiter of [...this.#waiters]) {
      try {
        if (waiter.matches(event)) waiter.resolve(event);
      } catch (error) {
        waiter.reject(error);
      }
    }
    for (const name of [event.name, '*']) {
      for (const listener of [...(this.#listeners.get(name) ?? [])]) callSafely(listener, event);
    }
  }

  /** Rejects the waiters that do not outlive a connection; all of them when the client itself ends. */
  disconnected(reason: Error, scope: 'connection' | 'client'): void {
    for (const waiter of [...this.#waiters]) {
      if (scope === 'client' || !waiter.keep) waiter.reject(reason);
    }
  }
}

function matcher(match: EventMatch): (event: QmpEvent) => boolean {
  if (typeof match === 'function') return match;
  if (typeof match === 'string') return (event) => event.name === match;
  return (event) => match.includes(event.name);
}

/** One listener's defect must not keep an event from the others; it is shown as a warning. */
function callSafely(listener: EventListener, event: QmpEvent): void {
  try {
    listener(event);
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), 'EventListenerWarning');
  }
}
