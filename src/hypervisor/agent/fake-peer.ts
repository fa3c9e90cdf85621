/**
 * A scriptable guest agent on a real unix socket, for tests. It keeps files and runs "programs" (functions), can be
 * silent (requests wait, as they do in the port of a guest without an agent), and sends whatever a test wants.
 */
import type { Socket } from 'node:net';
import { z } from 'zod';
import { OneClientSocket } from '../qmp/fake-socket.ts';
import { parseJson } from '../qmp/wire.ts';

const Request = z.object({
  execute: z.string(),
  arguments: z.record(z.string(), z.unknown()).default({}),
});

export type FakeRequest = z.infer<typeof Request>;

/** The way back to the client. */
export interface FakeAgentIo {
  reply(value?: unknown): void;
  refuse(description: string, errorClass?: string): void;
  raw(bytes: string | Buffer): void;
}

export type FakeAgentHandler = (request: FakeRequest, io: FakeAgentIo) => void;

/** What a program of the fake guest did. */
export interface FakeExit {
  code?: number;
  signal?: number;
  stdout?: string;
  stderr?: string;
  truncated?: boolean;
  /** How often `guest-exec-status` says "still running" first; `Infinity` for a program that hangs. */
  polls?: number;
}

/** A program: gets its arguments, input and environment; returns how it ended, `undefined` when not found. */
export type FakeProgram = (
  argv: string[],
  input: string,
  env: readonly string[] | undefined,
) => FakeExit | undefined;

const ExecArguments = z.object({
  path: z.string(),
  arg: z.array(z.string()).default([]),
  env: z.array(z.string()).optional(),
  'input-data': z.string().default(''),
});
const OpenArguments = z.object({ path: z.string(), mode: z.string() });
const HandleArguments = z.object({
  handle: z.number(),
  count: z.number().default(0),
  'buf-b64': z.string().default(''),
});
const PidArguments = z.object({ pid: z.number() });

const SENTINEL = 0xff;
const NEWLINE = 0x0a;

export class FakeAgent implements AsyncDisposable {
  /** Every request carried out, in order. */
  readonly received: FakeRequest[] = [];
  readonly files = new Map<string, Buffer>();
  /** Runs every program; by default nothing is found but `/bin/sh`, which succeeds. */
  program: FakeProgram = ([name]) => (name === '/bin/sh' ? {} : undefined);
  /** Most bytes one read or write moves, to force many. */
  chunk = Number.POSITIVE_INFINITY;
  #socket: OneClientSocket | undefined;
  #awake = true;
  #unread: { byte: number; io: FakeAgentIo }[] = [];
  #line: number[] = [];
  readonly #handlers = new Map<string, FakeAgentHandler>();
  readonly #arrivals: { name: string; resolve: (request: FakeRequest) => void }[] = [];
  readonly #running = new Map<number, FakeExit & { left: number }>();
  readonly #handles = new Map<number, { path: string; at: number }>();
  #lastId = 1000;

  private constructor() {
    this.#standardCommands();
  }

  static async start({ path }: { path?: string } = {}): Promise<FakeAgent> {
    const agent = new FakeAgent();
    agent.#socket = await OneClientSocket.listen((socket) => agent.#serve(socket), path);
    return agent;
  }

  get path(): string {
    return this.#socket?.path ?? '';
  }

  handle(name: string, handler: FakeAgentHandler): this {
    this.#handlers.set(name, handler);
    return this;
  }

  /** The next request of that name to be carried out after this call. */
  next(name: string): Promise<FakeRequest> {
    const { promise, resolve } = Promise.withResolvers<FakeRequest>();
    this.#arrivals.push({ name, resolve });
    return promise;
  }

  /** Stops reading: requests pile up. */
  sleep(): void {
    this.#awake = false;
  }

  /** Reads on, beginning with what piled up. */
  wake(): void {
    this.#awake = true;
    const bytes = this.#unread;
    this.#unread = [];
    for (const { byte, io } of bytes) this.#read(byte, io);
  }

  raw(bytes: string | Buffer): void {
    this.#socket?.current?.write(bytes);
  }

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
    const io: FakeAgentIo = {
      reply: (value = {}) => socket.write(line({ return: value })),
      refuse: (desc, errorClass = 'GenericError') =>
        socket.write(line({ error: { class: errorClass, desc } })),
      raw: (bytes) => socket.write(bytes),
    };
    socket.on('data', (chunk: Buffer) => {
      for (const byte of chunk) {
        if (this.#awake) this.#read(byte, io);
        else this.#unread.push({ byte, io });
      }
    });
  }

  /** As the real agent reads: the sentinel ends what was half read, with an error that nobody asked for. */
  #read(byte: number, io: FakeAgentIo): void {
    if (byte === SENTINEL) {
      if (this.#line.length > 0) io.refuse('JSON parse error, stray input');
      this.#line = [];
    } else if (byte === NEWLINE) {
      const text = Buffer.from(this.#line);
      this.#line = [];
      this.#take(Request.parse(parseJson(text)), io);
    } else this.#line.push(byte);
  }

  #take(request: FakeRequest, io: FakeAgentIo): void {
    this.received.push(request);
    const handler = this.#handlers.get(request.execute);
    if (handler) handler(request, io);
    else io.refuse(`The command ${request.execute} has not been found`, 'CommandNotFound');
    const index = this.#arrivals.findIndex(({ name }) => name === request.execute);
    const [arrival] = index === -1 ? [] : this.#arrivals.splice(index, 1);
    arrival?.resolve(request);
  }

  #standardCommands(): void {
    this.handle('guest-sync-delimited', ({ arguments: { id } }, io) => {
      io.raw(Buffer.concat([Buffer.from([SENTINEL]), Buffer.from(line({ return: id }))]));
    });
    this.handle('guest-ping', (_, io) => io.reply());
    this.handle('guest-info', (_, io) =>
      io.reply({
        version: '7.2.22',
        supported_commands: [...this.#handlers.keys()].map((name) => ({ name, enabled: true })),
      }),
    );
    this.handle('guest-exec', (request, io) => this.#exec(ExecArguments.parse(request.arguments), io));
    this.handle('guest-exec-status', (request, io) =>
      this.#status(PidArguments.parse(request.arguments), io),
    );
    this.handle('guest-file-open', (request, io) =>
      this.#openFile(OpenArguments.parse(request.arguments), io),
    );
    this.handle('guest-file-write', (request, io) =>
      this.#write(HandleArguments.parse(request.arguments), io),
    );
    this.handle('guest-file-read', (request, io) =>
      this.#readFile(HandleArguments.parse(request.arguments), io),
    );
    this.handle('guest-file-flush', (_, io) => io.reply());
    this.handle('guest-file-close', (request, io) => {
      const { handle } = HandleArguments.parse(request.arguments);
      if (this.#handles.delete(handle)) io.reply();
      else io.refuse(`handle '${handle}' has not been found`);
    });
  }

  #exec(request: z.infer<typeof ExecArguments>, io: FakeAgentIo): void {
    const input = Buffer.from(request['input-data'], 'base64').toString('utf8');
    const exit = this.program([request.path, ...request.arg], input, request.env);
    if (!exit) {
      io.refuse(
        `Guest agent command failed, error was 'Failed to execute child process “${request.path}” (No such file or directory)'`,
      );
      return;
    }
    const pid = ++this.#lastId;
    this.#running.set(pid, { ...exit, left: exit.polls ?? 0 });
    io.reply({ pid });
  }

  #status({ pid }: z.infer<typeof PidArguments>, io: FakeAgentIo): void {
    const exit = this.#running.get(pid);
    if (!exit) io.refuse(`PID ${pid} does not exist`);
    else if (exit.left-- > 0) io.reply({ exited: false });
    else {
      this.#running.delete(pid);
      io.reply({
        exited: true,
        ...(exit.signal === undefined ? { exitcode: exit.code ?? 0 } : { signal: exit.signal }),
        ...(exit.stdout ? { 'out-data': Buffer.from(exit.stdout).toString('base64') } : {}),
        ...(exit.stderr ? { 'err-data': Buffer.from(exit.stderr).toString('base64') } : {}),
        ...(exit.truncated ? { 'out-truncated': true } : {}),
      });
    }
  }

  #openFile({ path, mode }: z.infer<typeof OpenArguments>, io: FakeAgentIo): void {
    if (mode === 'w') this.files.set(path, Buffer.alloc(0));
    else if (!this.files.has(path)) {
      io.refuse(`failed to open file '${path}' (mode: '${mode}'): No such file or directory`);
      return;
    }
    const handle = ++this.#lastId;
    this.#handles.set(handle, { path, at: 0 });
    io.reply(handle);
  }

  #write(request: z.infer<typeof HandleArguments>, io: FakeAgentIo): void {
    const open = this.#handles.get(request.handle);
    if (!open) {
      io.refuse(`handle '${request.handle}' has not been found`);
      return;
    }
    const bytes = Buffer.from(request['buf-b64'], 'base64').subarray(0, this.chunk);
    this.files.set(open.path, Buffer.concat([this.files.get(open.path) ?? Buffer.alloc(0), bytes]));
    io.reply({ count: bytes.length, eof: false });
  }

  #readFile(request: z.infer<typeof HandleArguments>, io: FakeAgentIo): void {
    const open = this.#handles.get(request.handle);
    if (!open) {
      io.refuse(`handle '${request.handle}' has not been found`);
      return;
    }
    const content = this.files.get(open.path) ?? Buffer.alloc(0);
    const bytes = content.subarray(open.at, open.at + Math.min(request.count, this.chunk));
    open.at += bytes.length;
    // Like feof(): the end is known only once a read came out short.
    const eof = open.at >= content.length && bytes.length < request.count;
    io.reply({ count: bytes.length, 'buf-b64': bytes.toString('base64'), eof });
  }
}

function line(message: unknown): string {
  return `${JSON.stringify(message)}\n`;
}
