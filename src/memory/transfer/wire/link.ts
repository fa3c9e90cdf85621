/**
 * Numbered frames between two ends, in order and each once, over one or several connections that may break and come
 * back. What was not taken is kept and sent again; when no connection lives for too long the link is lost for good.
 */
import type { Duplex } from 'node:stream';
import { pauseFor } from '../../../base/pause-for.ts';
import { reasonOf, ShadowferryError } from '../../../errors.ts';
import { nonsense } from './bytes.ts';
import { Connection } from './connection.ts';
import { FIRST_KIND, type Frame, LINK_FRAME } from './frame.ts';
import { checkHello, printHello, type SessionKey } from './hello.ts';
import { Inbox } from './inbox.ts';
import { Outbox } from './outbox.ts';

/** Between two looks at what lives, ms. */
const LOOK_MS = 250;
/** Between two tries to connect, ms. */
const AGAIN_MS = 200;
const REASON_CHARS = 500;
/** With those of strangers, which are ended when they say nothing. */
const MOST_CONNECTIONS = 32;
const MOST_FAULTS = 5;

export interface LinkOptions {
  readonly key: SessionKey;
  /** No connection for so long, and the link is lost, ms. */
  readonly deadlineMs: number;
  /** A connection on which nothing was heard for so long is dead, ms. */
  readonly quietMs: number;
  /** Bytes per second; left out for as many as go. */
  readonly rate?: number | undefined;
  /** Takes a frame; called in order, and the frame counts as taken when the promise is fulfilled. */
  readonly onFrame: (kind: number, payload: Uint8Array) => Promise<void>;
}

export interface DialOptions extends LinkOptions {
  readonly dial: (signal: AbortSignal) => Promise<Duplex>;
  readonly connections: number;
}

export class Link {
  /** Fulfilled when the link is over: with the error that ended it, or undefined when both ends have said goodbye. */
  readonly closed: Promise<Error | undefined>;
  /** Connections that were made after the first ones. */
  reconnects = 0;
  readonly #options: LinkOptions;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #connections = new Set<Connection>();
  readonly #over = new AbortController();
  readonly #close: (error: Error | undefined) => void;
  readonly #looks: NodeJS.Timeout;
  /** When a connection last worked; undefined before the first one of an end that waits for it. */
  #aliveAt: number | undefined;
  /** Connections that ended because what was said on them made no sense. */
  #faults = 0;
  #lastLoss = 'no connection was made';

  constructor(options: LinkOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.closed = promise;
    this.#close = resolve;
    this.#outbox = new Outbox(() => [...this.#connections].filter(({ ready }) => ready), options.rate);
    this.#inbox = new Inbox(
      options.onFrame,
      (number) => this.#say({ kind: LINK_FRAME.ack, number, payload: new Uint8Array() }),
      (error) => this.abort(error),
    );
    this.#looks = setInterval(() => this.#look(), LOOK_MS);
    this.#looks.unref();
  }

  /** The end that connects, and connects again. */
  static dial(options: DialOptions): Link {
    const link = new Link(options);
    link.#aliveAt = performance.now();
    for (let n = 0; n < options.connections; n++) void link.#keepConnected(options.dial);
    return link;
  }

  /** Bytes that were sent, what was sent twice included. */
  get wireBytes(): number {
    return this.#outbox.wireBytes;
  }

  /** Bytes per second that the other end takes. */
  get rate(): number {
    return this.#outbox.window.rate;
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Takes a connection that the other end made. */
  accept(socket: Duplex): void {
    if (this.#over.signal.aborted || this.#connections.size >= MOST_CONNECTIONS) socket.destroy();
    else this.#add(socket, () => {});
  }

  /**
   * Sends a frame; settles when there is room for more.
   * @param urgent goes although there is none
   * @param onTaken called when the other end has taken it
   * @throws what ended the link
   */
  async send(kind: number, payload: Uint8Array, options: { urgent?: boolean; onTaken?: () => void } = {}) {
    this.#over.signal.throwIfAborted();
    await this.#outbox.send(kind, payload, options, this.#over.signal);
  }

  /** Waits until the other end has taken everything. @throws what ended the link */
  async drained(): Promise<void> {
    await this.#outbox.drained(this.#over.signal);
  }

  /** All is said; safe to repeat. */
  finish(): void {
    if (this.#over.signal.aborted) return;
    for (const each of this.#connections)
      each.finish({ kind: LINK_FRAME.bye, number: 0, payload: new Uint8Array() });
    this.#end(undefined);
  }

  /** Ends it with an error, which the other end is told; safe to repeat. */
  abort(error: Error): void {
    if (this.#over.signal.aborted) return;
    const payload = Buffer.from(reasonOf(error).slice(0, REASON_CHARS));
    for (const each of this.#connections) each.finish({ kind: LINK_FRAME.abort, number: 0, payload });
    this.#end(error);
  }

  #end(error: Error | undefined): void {
    clearInterval(this.#looks);
    const gone = error ?? new ShadowferryError('TRANSFER_PROTOCOL', { why: 'it is over' });
    this.#over.abort(gone);
    for (const each of this.#connections) each.end(gone);
    this.#connections.clear();
    this.#outbox.stop();
    this.#close(error);
  }

  async #keepConnected(dial: DialOptions['dial']): Promise<void> {
    const { signal } = this.#over;
    for (let first = true; !signal.aborted; first = false) {
      try {
        const socket = await dial(AbortSignal.any([signal, AbortSignal.timeout(this.#options.quietMs)]));
        if (signal.aborted) {
          socket.destroy();
          return;
        }
        if (!first) this.reconnects += 1;
        await new Promise<void>((resolve) => {
          const connection = this.#add(socket, resolve);
          connection.write(this.#hello());
        });
      } catch (error) {
        this.#lastLoss = reasonOf(error);
      }
      await pauseFor(AGAIN_MS, signal);
    }
  }

  #hello(): Frame {
    const payload = printHello(this.#options.key, this.#inbox.received);
    return { kind: LINK_FRAME.hello, number: 0, payload };
  }

  #add(socket: Duplex, onGone: () => void): Connection {
    const made = new Connection(socket, {
      frame: (connection, frame) => this.#frame(connection, frame),
      drain: () => this.#outbox.pump(),
      gone: (connection, why) => {
        this.#lastLoss = why.message;
        this.#connections.delete(connection);
        this.#outbox.lost(connection);
        this.#fault(connection, why);
        onGone();
      },
    });
    this.#connections.add(made);
    return made;
  }

  /** Nonsense may be a flipped bit, and the next connection be better; from a stranger it means nothing. */
  #fault(connection: Connection, why: Error): void {
    const ours = connection.ready || 'dial' in this.#options;
    if (!ours || !(why instanceof ShadowferryError) || why.code !== 'TRANSFER_PROTOCOL') return;
    this.#faults += 1;
    if (this.#faults >= MOST_FAULTS) this.abort(why);
  }

  /** What is wrong with one connection ends that one only: the other end connects again. */
  #frame(connection: Connection, frame: Frame): void {
    const { kind, number, payload } = frame;
    if (!connection.ready) {
      if (kind !== LINK_FRAME.hello) throw nonsense('a connection without a greeting');
      const received = checkHello(payload, this.#options.key);
      const dialled = 'dial' in this.#options;
      connection.ready = true;
      this.#aliveAt = performance.now();
      if (!dialled) connection.write(this.#hello());
      this.#outbox.received(received);
      return;
    }
    this.#aliveAt = performance.now();
    switch (kind) {
      case LINK_FRAME.ack:
        this.#outbox.taken(number);
        return;
      case LINK_FRAME.ping:
        connection.write({ kind: LINK_FRAME.ack, number: this.#inbox.taken, payload: new Uint8Array() });
        return;
      case LINK_FRAME.bye:
        this.#end(undefined);
        return;
      case LINK_FRAME.abort: {
        const why = `it gave up: ${Buffer.from(payload).toString('utf8').slice(0, REASON_CHARS)}`;
        this.#end(new ShadowferryError('TRANSFER_PROTOCOL', { why }));
        return;
      }
      default:
        if (kind < FIRST_KIND) throw nonsense(`a frame of kind ${kind}`);
        this.#inbox.put(frame);
    }
  }

  #say(frame: Frame): void {
    const [first] = [...this.#connections].filter(({ ready }) => ready);
    first?.write(frame);
  }

  #look(): void {
    const now = performance.now();
    const { deadlineMs, quietMs } = this.#options;
    for (const each of this.#connections) {
      if (now - each.heardAt > quietMs) each.end(new Error(`nothing was heard for ${quietMs} ms`));
      else if (each.ready) each.write({ kind: LINK_FRAME.ping, number: 0, payload: new Uint8Array() });
    }
    if (this.#aliveAt !== undefined && now - this.#aliveAt > deadlineMs)
      this.abort(new ShadowferryError('TRANSFER_LINK_LOST', { ms: deadlineMs, why: this.#lastLoss }));
  }
}
