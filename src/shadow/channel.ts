/**
 * The line between us and the replay program: a virtio-serial port into a guest, a pair of fifos on this machine.
 * Commands go in as lines, the program's progress comes out as JSON lines. It needs no guest agent and no new process, so it may be used between
 * detach and attach. The guest is not trusted: lines are bounded and parsed.
 */
import { createConnection } from 'node:net';
import type { Duplex } from 'node:stream';
import { nowMs } from '../base/clock.ts';
import { raceSignal } from '../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { MAX_EVENT_LINE, type ProgramEvent, parseProgramEvent } from './net/program.ts';

/** What a host may tell the program. */
export type ProgramCommand =
  | 'leave'
  | 'adopt'
  | 'rollback'
  | 'giveback'
  | 'attach'
  | 'rescan'
  | 'stop'
  | `ping ${number}`;

export type TimedEvent = ProgramEvent & { arrivedMs: number };

interface Waiter {
  accepts: (event: TimedEvent) => boolean;
  resolve: (event: TimedEvent) => void;
  reject: (error: unknown) => void;
}

export class GuestChannel {
  readonly #socket: Duplex;
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<(event: TimedEvent) => void>();
  #pending = '';
  #lost: ShadowferryError | undefined;

  /** @param socket carries the lines both ways, and is ours from here on */
  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('error', (error) => this.#lose(reasonOf(error)));
    socket.on('close', () => this.#lose('the channel to the guest closed'));
  }

  /** Connects to QEMU's end of the port. QEMU must be running; the guest need not. */
  static async connect(path: string, signal: AbortSignal): Promise<GuestChannel> {
    const socket = createConnection({ path });
    const connected = new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    try {
      await raceSignal(connected, signal);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return new GuestChannel(socket);
  }

  send(command: ProgramCommand): void {
    this.#socket.write(`${command}\n`);
  }

  /** Calls `listener` for each event until the returned function is called. */
  onEvent(listener: (event: TimedEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * The next event that `accepts` takes. Call it before the command that triggers the event.
   * @throws the signal's reason, or CHANNEL_FAILED when the channel closes first. Never an unhandled rejection.
   */
  waitFor(accepts: (event: TimedEvent) => boolean, signal: AbortSignal): Promise<TimedEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<TimedEvent>();
    promise.catch(() => {}); // a waiter may be dropped when an earlier step fails
    if (this.#lost !== undefined) {
      reject(this.#lost);
      return promise;
    }
    const waiter: Waiter = { accepts, resolve, reject };
    this.#waiters.add(waiter);
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const done = () => {
      this.#waiters.delete(waiter);
      signal.removeEventListener('abort', onAbort);
    };
    promise.then(done, done);
    return promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#pending += text;
    for (let end = this.#pending.indexOf('\n'); end >= 0; end = this.#pending.indexOf('\n')) {
      const line = this.#pending.slice(0, end);
      this.#pending = this.#pending.slice(end + 1);
      this.#deliver(line);
    }
    // a guest that never ends its line must not fill our memory
    if (this.#pending.length > MAX_EVENT_LINE) this.#pending = '';
  }

  #deliver(line: string): void {
    const parsed = parseProgramEvent(line);
    if (parsed === undefined) return;
    const event: TimedEvent = { ...parsed, arrivedMs: nowMs() };
    for (const listener of [...this.#listeners]) listener(event);
    for (const waiter of [...this.#waiters]) if (waiter.accepts(event)) waiter.resolve(event);
  }

  #lose(why: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = new ShadowferryError('CHANNEL_FAILED', { why });
    for (const waiter of [...this.#waiters]) waiter.reject(this.#lost);
  }
}
