import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import { z } from 'zod';
import { raceSignal } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { dial } from '../qmp/dial.ts';
import { AgentDecoder, type AgentReply, encodeRequest, encodeSync } from './wire.ts';

/** How long one reply may take when the caller does not say: a busy guest under emulation needs seconds. */
export const REPLY_TIMEOUT_MS = 5000;

/** After this long without a request the stream is synchronised again: the agent may have been restarted. */
const IDLE_MS = 2000;

export interface AgentConnectOptions {
  /** The unix socket of the agent's virtio-serial port. */
  path: string;
  /** How errors name this agent, such as `VM "web" on a`. */
  name: string;
  /** Gives up dialling. */
  signal: AbortSignal;
}

export interface RequestOptions {
  signal?: AbortSignal;
  /** How long the reply may take once the request is sent, ms. */
  timeoutMs?: number;
}

/**
 * The request stream to one guest agent: one request at a time, synchronised whenever it may be out of step.
 * A request is sent only after the agent answered in this series, so an agent that was silent from the start
 * never carries out a stale request when it wakes up.
 */
export class AgentChannel {
  readonly name: string;
  readonly #socket: Socket;
  readonly #decoder = new AgentDecoder();
  readonly #released = Promise.withResolvers<void>();
  #tail: Promise<void> = Promise.resolve();
  #inStep = false;
  #lastUse = 0;
  #waiting: { take: (reply: AgentReply) => void; fail: (error: unknown) => void } | undefined;
  #end: ShadowferryError | undefined;

  private constructor(socket: Socket, name: string) {
    this.name = name;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#finish(error.message));
    socket.on('end', () => this.#finish('the other side closed it'));
    socket.on('close', () => {
      this.#finish('the other side closed it');
      this.#released.resolve();
    });
  }

  /** @throws AGENT_CLOSED, or the signal's reason. Says nothing about whether an agent runs in the guest. */
  static async connect({ path, name, signal }: AgentConnectOptions): Promise<AgentChannel> {
    const socket = await dial(path, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new ShadowferryError('AGENT_CLOSED', { peer: name, why: reasonOf(error) }, { cause: error });
    });
    return new AgentChannel(socket, name);
  }

  /**
   * Sends one request when its turn comes and resolves with its checked `return`.
   * @throws AGENT_SILENT {command, ms} when no answer comes in time, AGENT_REFUSED {command, description, class},
   * ANSWER_UNEXPECTED, AGENT_CLOSED, or the signal's reason (AGENT_SILENT when that is a deadline).
   */
  async request<T>(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    schema: z.ZodType<T>,
    { signal, timeoutMs = REPLY_TIMEOUT_MS }: RequestOptions = {},
  ): Promise<T> {
    const reply = await this.#exclusive(signal, async () => {
      const wait = { command, signal, timeoutMs };
      if (!this.#inStep || performance.now() - this.#lastUse > IDLE_MS) await this.#synchronise(wait);
      return await this.#exchange(encodeRequest(command, args), wait, (candidate) => candidate);
    });
    if (reply.kind === 'garbage') throw this.#unexpected(command, reply.problem);
    if (reply.kind === 'error') {
      const { class: errorClass, description } = reply;
      throw new ShadowferryError('AGENT_REFUSED', { command, description, class: errorClass });
    }
    const parsed = schema.safeParse(reply.value);
    if (!parsed.success) throw this.#unexpected(command, z.prettifyError(parsed.error));
    return parsed.data;
  }

  /** Rejects what is waiting and resolves when the socket is closed. */
  async close(): Promise<void> {
    this.#finish('closed by this side');
    await this.#released.promise;
  }

  async #exclusive<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const turn = this.#tail;
    const { promise: mine, resolve: release } = Promise.withResolvers<void>();
    this.#tail = turn.then(() => mine);
    try {
      await raceSignal(turn, signal);
      return await work();
    } finally {
      release();
    }
  }

  /** Drops everything up to the echo of a fresh number: replies to requests given up, a line cut off. */
  async #synchronise(wait: Wait): Promise<void> {
    const token = randomInt(1, 2 ** 31);
    await this.#exchange(encodeSync(token), wait, (reply) =>
      reply.kind === 'return' && reply.marked && reply.value === token ? reply : undefined,
    );
  }

  /** Writes, then waits for the first reply that `accept` takes. Out of step from here until it came. */
  async #exchange(
    bytes: string | Buffer,
    { command, signal, timeoutMs }: Wait,
    accept: (reply: AgentReply) => AgentReply | undefined,
  ): Promise<AgentReply> {
    if (this.#end) throw this.#end;
    signal?.throwIfAborted();
    this.#inStep = false;
    const { promise, resolve, reject } = Promise.withResolvers<AgentReply>();
    const start = performance.now();
    const silent = (ms: number, cause?: unknown) =>
      new ShadowferryError('AGENT_SILENT', { command, ms: Math.round(ms) }, { cause });
    const onAbort = () => {
      const reason: unknown = signal?.reason;
      reject(isDeadline(reason) ? silent(performance.now() - start, reason) : reason);
    };
    const timer = setTimeout(() => reject(silent(timeoutMs)), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#waiting = {
      take: (reply) => {
        const accepted = accept(reply);
        if (accepted) resolve(accepted);
      },
      fail: reject,
    };
    try {
      this.#socket.write(bytes);
      const reply = await promise;
      this.#inStep = reply.kind !== 'garbage';
      this.#lastUse = performance.now();
      return reply;
    } finally {
      this.#waiting = undefined;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  #read(chunk: Buffer): void {
    if (this.#end) return;
    try {
      for (const reply of this.#decoder.push(chunk)) {
        if (this.#waiting) this.#waiting.take(reply);
        else this.#inStep = false; // nobody asked
      }
    } catch (error) {
      this.#finish(`it broke the protocol: ${reasonOf(error)}`);
    }
  }

  #finish(why: string): void {
    if (this.#end) return;
    this.#end = new ShadowferryError('AGENT_CLOSED', { peer: this.name, why });
    this.#socket.destroy();
    this.#waiting?.fail(this.#end);
  }

  #unexpected(command: string, problem: string): ShadowferryError {
    return new ShadowferryError('ANSWER_UNEXPECTED', {
      peer: `the guest agent of ${this.name}`,
      command,
      problem,
    });
  }
}

interface Wait {
  command: string;
  signal: AbortSignal | undefined;
  timeoutMs: number;
}

function isDeadline(reason: unknown): boolean {
  if (reason instanceof ShadowferryError) return reason.kind === 'timeout';
  return reason instanceof DOMException && reason.name === 'TimeoutError';
}
