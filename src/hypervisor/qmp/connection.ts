import type { Socket } from 'node:net';
import { nowMs } from '../../base/clock.ts';
import { raceSignal } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { dial } from './dial.ts';
import type { QmpEvent } from './events.ts';
import {
  encodeCommand,
  LineDecoder,
  parseMessage,
  type QemuVersion,
  type QmpArguments,
  type QmpMessage,
} from './wire.ts';

interface Pending {
  command: string;
  resolve: (value: unknown) => void;
  reject: (reason: unknown) => void;
}

export interface ConnectionOptions {
  path: string;
  /** How errors name the other side. */
  peer: string;
  /** Gives up dialling and waiting for the greeting. */
  signal: AbortSignal;
  /** A new id at each call, not used before on this socket path: QEMU may answer an earlier connection's command. */
  nextId: () => string;
  onEvent: (event: QmpEvent) => void;
  /** Called once, when nothing more can come: with the reason, or `undefined` after `close()`. */
  onEnd: (error: ShadowferryError | undefined) => void;
}

/** One life of one socket to one monitor: greeting, commands in flight, end. `QmpClient` outlives it. */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #pending = new Map<string, Pending>();
  readonly #decoder = new LineDecoder();
  readonly #greeting = Promise.withResolvers<QemuVersion>();
  readonly #released = Promise.withResolvers<void>();
  #greeted = false;
  #end: ShadowferryError | undefined;

  private constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#greeting.promise.catch(() => {}); // awaited in `open` only
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#finish(error.message));
    socket.on('end', () => this.#finish('the other side closed it'));
    socket.on('close', () => {
      this.#finish('the other side closed it');
      this.#released.resolve();
    });
  }

  /**
   * Dials, waits for the greeting and negotiates.
   * @throws QMP_CLOSED, or the signal's reason; the socket is closed then.
   */
  static async open(
    options: ConnectionOptions,
  ): Promise<{ connection: QmpConnection; version: QemuVersion }> {
    const { path, peer, signal } = options;
    const socket = await dial(path, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new ShadowferryError('QMP_CLOSED', { peer, why: reasonOf(error) }, { cause: error });
    });
    const connection = new QmpConnection(socket, options);
    try {
      const version = await raceSignal(connection.#greeting.promise, signal);
      await connection.execute('qmp_capabilities', undefined, signal);
      return { connection, version };
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Sends one command and resolves with its `return`. An abort forgets the command; its late reply is dropped. */
  execute(
    command: string,
    args: QmpArguments | undefined,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#end) throw this.#end;
      signal?.throwIfAborted();
      const id = this.#options.nextId();
      const line = encodeCommand(command, args, id);
      const onAbort = () => {
        this.#pending.delete(id);
        reject(signal?.reason);
      };
      const done = () => signal?.removeEventListener('abort', onAbort);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, {
        command,
        resolve: (value) => {
          done();
          resolve(value);
        },
        reject: (reason) => {
          done();
          reject(reason);
        },
      });
      this.#socket.write(line);
    });
  }

  /** Rejects what is in flight and resolves when the socket is really closed. `why` is told to those rejected. */
  async close(why = 'closed by this side'): Promise<void> {
    this.#finish(why, { expected: true });
    await this.#released.promise;
  }

  #read(chunk: Buffer): void {
    if (this.#end) return;
    try {
      for (const line of this.#decoder.push(chunk)) {
        this.#take(parseMessage(line));
        if (this.#end) return; // a listener closed us
      }
    } catch (error) {
      this.#finish(`it broke the protocol: ${reasonOf(error)}`);
    }
  }

  #take(message: QmpMessage): void {
    if (message.kind === 'greeting') {
      this.#greeted = true;
      this.#greeting.resolve(message.version);
      return;
    }
    if (!this.#greeted) return; // meant for the client before us
    if (message.kind === 'event') {
      const { name, data, qemuTimeMs } = message;
      this.#options.onEvent({ name, data, qemuTimeMs, arrivedMs: nowMs() });
      return;
    }
    if (typeof message.id !== 'string') return; // ours carry one: an earlier client's
    const pending = this.#pending.get(message.id);
    if (!pending) return; // given up, or answered twice
    this.#pending.delete(message.id);
    if (message.kind === 'return') pending.resolve(message.value);
    else {
      const { class: errorClass, description } = message;
      pending.reject(
        new ShadowferryError('QMP_REFUSED', { command: pending.command, description, class: errorClass }),
      );
    }
  }

  #finish(why: string, { expected = false } = {}): void {
    if (this.#end) return;
    const error = new ShadowferryError('QMP_CLOSED', { peer: this.#options.peer, why });
    this.#end = error;
    this.#socket.destroy();
    this.#greeting.reject(error);
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    this.#options.onEnd(expected ? undefined : error);
  }
}
