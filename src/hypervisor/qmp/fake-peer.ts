/**
 * A scriptable QMP peer on a real unix socket, for tests: it can delay, reorder, swallow and repeat replies and
 * events, send garbage, hang up in the middle of a message and greet late.
 */
import type { Socket } from 'node:net';
import { z } from 'zod';
import { OneClientSocket } from './fake-socket.ts';
import { LineDecoder, parseJson } from './wire.ts';

const Command = z.object({
  execute: z.string(),
  arguments: z.record(z.string(), z.unknown()).default({}),
  id: z.unknown(),
});

/** A command as it came in. */
export type FakeCommand = z.infer<typeof Command>;

/** The way back to the client that sent a command; each may be called at any time and any number of times. */
export interface FakeIo {
  reply(value?: unknown): void;
  refuse(description: string, errorClass?: string): void;
  event(name: string, data?: Record<string, unknown>): void;
  raw(bytes: string | Buffer): void;
  hangUp(): void;
}

/** Does with a command what it likes; doing nothing swallows it. */
export type FakeHandler = (command: FakeCommand, io: FakeIo) => void;

export interface FakePeerOptions {
  /** Where to listen; a fresh path when left out. */
  path?: string;
  /** The greeting is sent when this resolves; at once when left out. */
  greetWhen?: Promise<unknown>;
  /** Sent instead of a proper greeting. */
  greeting?: string;
}

/** What is sent to each client first. */
export const GREETING = line({
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: 'fake' }, capabilities: ['oob'] },
});

export class FakeQmpPeer implements AsyncDisposable {
  /** Every command received, in order, of all clients. */
  readonly received: FakeCommand[] = [];
  /** How many clients were served so far. */
  clients = 0;
  #socket: OneClientSocket | undefined;
  readonly #handlers = new Map<string, FakeHandler>();
  readonly #arrivals: { name: string; resolve: (command: FakeCommand) => void }[] = [];
  readonly #greetWhen: Promise<unknown> | undefined;
  readonly #greeting: string;

  private constructor({ greetWhen, greeting = GREETING }: FakePeerOptions) {
    this.#greetWhen = greetWhen;
    this.#greeting = greeting;
    this.answer('qmp_capabilities', {});
  }

  static async start(options: FakePeerOptions = {}): Promise<FakeQmpPeer> {
    const peer = new FakeQmpPeer(options);
    peer.#socket = await OneClientSocket.listen((socket) => peer.#serve(socket), options.path);
    return peer;
  }

  get path(): string {
    return this.#socket?.path ?? '';
  }

  /** Sets what happens on a command; the last call counts. A command without a handler is refused as unknown. */
  handle(name: string, handler: FakeHandler): this {
    this.#handlers.set(name, handler);
    return this;
  }

  /** Answers a command always with `value`. */
  answer(name: string, value: unknown): this {
    return this.handle(name, (_, io) => io.reply(value));
  }

  /** The next command of that name to arrive after this call. */
  next(name: string): Promise<FakeCommand> {
    const { promise, resolve } = Promise.withResolvers<FakeCommand>();
    this.#arrivals.push({ name, resolve });
    return promise;
  }

  /** Sends an event to the client being served. */
  event(name: string, data?: Record<string, unknown>): void {
    this.raw(eventLine(name, data));
  }

  /** Sends any bytes to the client being served. */
  raw(bytes: string | Buffer): void {
    this.#socket?.current?.write(bytes);
  }

  /** Closes the client being served, after what was sent. */
  hangUp(): void {
    this.#socket?.current?.end();
  }

  async close(): Promise<void> {
    await this.#socket?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #serve(socket: Socket): void {
    this.clients += 1;
    const greet = () => socket.write(this.#greeting);
    if (this.#greetWhen) void this.#greetWhen.then(greet);
    else greet();
    const decoder = new LineDecoder();
    socket.on('data', (chunk: Buffer) => {
      for (const text of decoder.push(chunk)) this.#take(Command.parse(parseJson(text)), socket);
    });
  }

  #take(command: FakeCommand, socket: Socket): void {
    this.received.push(command);
    const index = this.#arrivals.findIndex(({ name }) => name === command.execute);
    const [arrival] = index === -1 ? [] : this.#arrivals.splice(index, 1);
    const handler = this.#handlers.get(command.execute);
    const io = ioFor(command, socket);
    if (handler) handler(command, io);
    else io.refuse(`The command ${command.execute} has not been found`, 'CommandNotFound');
    arrival?.resolve(command);
  }
}

function ioFor({ id }: FakeCommand, socket: Socket): FakeIo {
  return {
    reply: (value = {}) => socket.write(line({ return: value, id })),
    refuse: (desc, errorClass = 'GenericError') =>
      socket.write(line({ error: { class: errorClass, desc }, id })),
    event: (name, data) => socket.write(eventLine(name, data)),
    raw: (bytes) => socket.write(bytes),
    hangUp: () => socket.end(),
  };
}

function eventLine(event: string, data: Record<string, unknown> = {}): string {
  const now = Date.now();
  const timestamp = { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 };
  return line({ timestamp, event, data });
}

function line(message: unknown): string {
  return `${JSON.stringify(message)}\r\n`;
}
