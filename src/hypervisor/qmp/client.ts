import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { QmpConnection } from './connection.ts';
import {
  EventHub,
  type EventListener,
  type EventMatch,
  type EventWaiter,
  type WaitOptions,
} from './events.ts';
import type { QemuVersion, QmpArguments } from './wire.ts';

export interface QmpConnectOptions {
  /** The monitor's unix socket. */
  path: string;
  /** How errors name this monitor, such as `VM "web" on a`. */
  name: string;
  /** Gives up dialling and waiting for the greeting: the one deadline of connecting. */
  signal: AbortSignal;
}

export interface ExecuteOptions {
  /** Stops waiting (rejects with the signal's reason); QEMU may still carry the command out. */
  signal?: AbortSignal;
}

/**
 * A QMP client over a unix socket: replies matched by id, any number of commands in flight, events apart.
 * One client per monitor: QEMU serves one at a time and lets a second wait for ever.
 * A slow reply is not a dead peer: nothing here times out by itself, deadlines are the caller's signals.
 */
export class QmpClient implements AsyncDisposable {
  readonly name: string;
  readonly path: string;
  readonly #events = new EventHub();
  // Unique per client, never started again: a reply to an earlier connection can never match.
  readonly #prefix = randomBytes(6).toString('hex');
  #count = 0;
  #connection: QmpConnection | undefined;
  #version: QemuVersion | undefined;
  #closed = Promise.withResolvers<ShadowferryError | undefined>();
  #lost: ShadowferryError | undefined;
  #ending = false;
  #reconnecting: Promise<void> | undefined;

  private constructor(path: string, name: string) {
    this.path = path;
    this.name = name;
  }

  /**
   * Dials (again and again while the socket does not exist or refuses), greets and negotiates.
   * @throws the signal's reason when it aborts first, QMP_CLOSED when the other side is not a QEMU or hangs up.
   */
  static async connect({ path, name, signal }: QmpConnectOptions): Promise<QmpClient> {
    const client = new QmpClient(path, name);
    await client.#open(signal);
    return client;
  }

  /** Version of the QEMU that greeted last. */
  get version(): QemuVersion {
    if (!this.#version) throw this.#closedError();
    return this.#version;
  }

  /**
   * Resolves when the client has no connection any more: with the reason when it was lost, `undefined` after
   * `close()`. A `reconnect()` of a live client does not settle it; after a loss it starts anew. Never rejects.
   */
  get closed(): Promise<ShadowferryError | undefined> {
    return this.#closed.promise;
  }

  /**
   * Runs one command. With a `schema` its `return` is checked and typed.
   * @throws QMP_REFUSED {command, description, class} when QEMU says no, QMP_CLOSED when the connection ends first,
   * ANSWER_UNEXPECTED when the reply does not fit the schema, or the signal's reason.
   */
  execute<T>(
    command: string,
    args: QmpArguments | undefined,
    options: ExecuteOptions & { schema: z.ZodType<T> },
  ): Promise<T>;
  execute(command: string, args?: QmpArguments, options?: ExecuteOptions): Promise<unknown>;
  async execute(
    command: string,
    args?: QmpArguments,
    options: ExecuteOptions & { schema?: z.ZodType } = {},
  ): Promise<unknown> {
    if (!this.#connection) throw this.#closedError();
    const value = await this.#connection.execute(command, args, options.signal);
    if (!options.schema) return value;
    const parsed = options.schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new ShadowferryError(
      'ANSWER_UNEXPECTED',
      { peer: this.name, command, problem: z.prettifyError(parsed.error) },
      { cause: parsed.error },
    );
  }

  /** Calls `listener` on each event of that name (`*`: of any name), over reconnects too; returns the way to stop. */
  on(name: string, listener: EventListener): () => void {
    return this.#events.on(name, listener);
  }

  /** Starts to wait for an event at once: call it before the command that triggers the event. See `EventWaiter`. */
  waitFor(match: EventMatch, options?: WaitOptions): EventWaiter {
    const waiter = this.#events.waitFor(match, options);
    if (this.#ending) this.#events.disconnected(this.#closedError(), 'client');
    else if (!this.#connection) this.#events.disconnected(this.#closedError(), 'connection');
    return waiter;
  }

  /**
   * Closes what is left of the old connection, then dials again: QEMU greets nobody while the old one is open.
   * Commands in flight are rejected with QMP_CLOSED, waiters as their `onDisconnect` says.
   * @throws as `connect`; after `close()` always QMP_CLOSED.
   */
  reconnect({ signal }: { signal: AbortSignal }): Promise<void> {
    this.#reconnecting ??= this.#reconnect(signal).finally(() => {
      this.#reconnecting = undefined;
    });
    return this.#reconnecting;
  }

  /** Ends the client for good; resolves when the socket is closed. Commands and waiters are rejected. */
  async close(): Promise<void> {
    this.#ending = true;
    const connection = this.#connection;
    this.#connection = undefined;
    this.#events.disconnected(this.#closedError(), 'client');
    await connection?.close();
    this.#closed.resolve(undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #reconnect(signal: AbortSignal): Promise<void> {
    if (this.#ending) throw this.#closedError();
    const old = this.#connection;
    this.#connection = undefined;
    this.#events.disconnected(this.#error('it is being dialled again'), 'connection');
    await old?.close('it is being dialled again');
    if (this.#lost) this.#closed = Promise.withResolvers();
    this.#lost = undefined;
    try {
      await this.#open(signal);
    } catch (error) {
      this.#lose(this.#error(`dialling it again failed: ${reasonOf(error)}`));
      throw error;
    }
  }

  async #open(signal: AbortSignal): Promise<void> {
    let opened: QmpConnection | undefined;
    let ended: ShadowferryError | undefined;
    const { connection, version } = await QmpConnection.open({
      path: this.path,
      peer: this.name,
      signal,
      nextId: () => `${this.#prefix}-${++this.#count}`,
      onEvent: (event) => this.#events.emit(event),
      onEnd: (error) => {
        ended = error;
        // Not while opening (the opener hears of it), not when this side closed it.
        if (error && opened && this.#connection === opened) this.#lose(error);
      },
    });
    if (this.#ending) {
      await connection.close();
      throw this.#closedError();
    }
    if (ended) throw ended;
    opened = connection;
    this.#connection = connection;
    this.#version = version;
  }

  #lose(error: ShadowferryError): void {
    this.#connection = undefined;
    this.#lost = error;
    this.#events.disconnected(error, 'connection');
    this.#closed.resolve(error);
  }

  #closedError(): ShadowferryError {
    if (this.#ending) return this.#error('closed by this side');
    return this.#lost ?? this.#error('it is not connected');
  }

  #error(why: string): ShadowferryError {
    return new ShadowferryError('QMP_CLOSED', { peer: this.name, why });
  }
}

/** What most code needs of a client: to run commands. */
export type Qmp = Pick<QmpClient, 'execute'>;

/** What code needs that also waits for events. */
export type QmpWithEvents = Pick<QmpClient, 'execute' | 'waitFor'>;
