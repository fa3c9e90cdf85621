import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A unix socket for the fakes that serves one client at a time, as QEMU's character devices do: a second client
 * is accepted by the kernel and hears nothing until the first is gone.
 */
export class OneClientSocket implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #cleanUp: () => Promise<void>;
  readonly #open = new Set<Socket>();
  readonly #queue: Socket[] = [];
  #current: Socket | undefined;
  #serve: (socket: Socket) => void = () => {};

  private constructor(path: string, server: Server, cleanUp: () => Promise<void>) {
    this.path = path;
    this.#server = server;
    this.#cleanUp = cleanUp;
    server.on('connection', (socket) => {
      socket.pause();
      socket.on('error', () => {}); // the client may go at any time
      this.#open.add(socket);
      socket.once('close', () => this.#gone(socket));
      this.#queue.push(socket);
      this.#next();
    });
  }

  /** Listens at `path`, or at a fresh one in a directory that `close` removes. `serve` gets each client in turn. */
  static async listen(serve: (socket: Socket) => void, path?: string): Promise<OneClientSocket> {
    const directory = path === undefined ? await mkdtemp(join(tmpdir(), 'fake-qemu-')) : undefined;
    const at = path ?? join(directory ?? '', 'socket');
    const server = createServer({ allowHalfOpen: false });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen(at, resolve);
    await promise;
    const listener = new OneClientSocket(at, server, async () => {
      if (directory !== undefined) await rm(directory, { recursive: true, force: true });
    });
    listener.#serve = serve;
    return listener;
  }

  /** The client being served. */
  get current(): Socket | undefined {
    return this.#current;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#open) socket.destroy();
    await closed;
    await this.#cleanUp();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #gone(socket: Socket): void {
    this.#open.delete(socket);
    const index = this.#queue.indexOf(socket);
    if (index !== -1) this.#queue.splice(index, 1);
    if (this.#current === socket) this.#current = undefined;
    this.#next();
  }

  #next(): void {
    if (this.#current) return;
    this.#current = this.#queue.shift();
    if (!this.#current) return;
    this.#serve(this.#current);
    this.#current.resume();
  }
}

/** Cuts bytes into chunks at the given places (taken modulo its length). */
export function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...ends].map((start, index) => bytes.subarray(start, ends[index] ?? bytes.length));
}
