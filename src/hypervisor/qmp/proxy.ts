/**
 * Stands between a client and a real QEMU's monitor and does harm on request: swallows, replaces, delays and
 * injects commands, replies and events. For lab tests that need faults a healthy QEMU does not show.
 */
import type { Socket } from 'node:net';
import { createServer, type Server } from 'node:net';
import { reasonOf } from '../../errors.ts';
import { dial } from './dial.ts';
import { LineDecoder, parseJson } from './wire.ts';

/** One JSON message of either side, as it is on the wire. */
export type WireMessage = Record<string, unknown>;

/**
 * What to do with a message. `swallow` drops it; `replace` sends others instead (none, one or several); `hold`
 * sends it once the promise resolves, letting later ones overtake it; `answer` (commands only) keeps the command
 * from QEMU and gives the client this `return` or `error`.
 */
export type ProxyAction =
  | 'pass'
  | 'swallow'
  | { replace: readonly WireMessage[] }
  | { hold: Promise<unknown> }
  | { answer: { return: unknown } | { error: { class: string; desc: string } } };

export interface ProxyHooks {
  /** A command on its way to QEMU. */
  onCommand?: (name: string, message: WireMessage) => ProxyAction;
  /** A reply on its way back, with the command it answers. */
  onReply?: (command: string, message: WireMessage) => ProxyAction;
  /** An event on its way to the client. */
  onEvent?: (name: string, message: WireMessage) => ProxyAction;
}

export interface ProxyOptions {
  /** Where the client connects. */
  listen: string;
  /** QEMU's own monitor. */
  upstream: string;
  hooks?: ProxyHooks;
  /** How long a client waits for QEMU's socket, ms. */
  dialMs?: number;
}

export class QmpProxy implements AsyncDisposable {
  /** May be changed at any time; counts from the next message on. */
  hooks: ProxyHooks;
  readonly path: string;
  readonly #server: Server;
  readonly #links = new Set<Link>();

  private constructor(server: Server, { listen, upstream, hooks = {}, dialMs = 10_000 }: ProxyOptions) {
    this.#server = server;
    this.path = listen;
    this.hooks = hooks;
    server.on('connection', (client) => {
      client.on('error', () => client.destroy());
      // One upstream connection per client: QEMU makes a second client wait, and so do we.
      const link = new Link(client, () => this.hooks);
      this.#links.add(link);
      client.once('close', () => this.#links.delete(link));
      void link.open(upstream, AbortSignal.timeout(dialMs));
    });
  }

  static async start(options: ProxyOptions): Promise<QmpProxy> {
    const server = createServer();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen(options.listen, resolve);
    await promise;
    return new QmpProxy(server, options);
  }

  /** Sends an event that QEMU never sent to every client; the timestamp is now unless given. */
  injectEvent(name: string, data: Record<string, unknown> = {}): void {
    const now = Date.now();
    const timestamp = { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 };
    for (const link of this.#links) link.toClient({ timestamp, event: name, data });
  }

  /** Sends a command to QEMU behind the client's back; its reply is dropped by any client that matches ids. */
  injectCommand(name: string, args: Record<string, unknown> = {}): void {
    for (const link of this.#links) link.toQemu({ execute: name, arguments: args, id: 'proxy' });
  }

  /** Sends any bytes to every client. */
  injectRaw(bytes: string | Buffer): void {
    for (const link of this.#links) link.rawToClient(bytes);
  }

  /** Cuts every connection, both ways, as a crash would. */
  hangUp(): void {
    for (const link of this.#links) link.close();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.hangUp();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** One client and its connection to QEMU. */
class Link {
  readonly #client: Socket;
  readonly #hooks: () => ProxyHooks;
  /** Which command an id belongs to, until it is answered. */
  readonly #commands = new Map<unknown, string>();
  readonly #dialling = new AbortController();
  #qemu: Socket | undefined;

  constructor(client: Socket, hooks: () => ProxyHooks) {
    this.#client = client;
    this.#hooks = hooks;
    client.pause();
    client.once('close', () => this.#dialling.abort());
  }

  async open(upstream: string, signal: AbortSignal): Promise<void> {
    try {
      const qemu = await dial(upstream, AbortSignal.any([signal, this.#dialling.signal]));
      if (this.#client.destroyed) {
        qemu.destroy();
        return;
      }
      this.#qemu = qemu;
      qemu.on('error', () => this.close());
      qemu.on('close', () => this.#client.destroySoon()); // QEMU's last words still get through
      this.#client.on('close', () => qemu.destroySoon());
      this.#relay(qemu, (message) => this.#fromQemu(message));
      this.#relay(this.#client, (message) => this.#fromClient(message));
      this.#client.resume();
    } catch (error) {
      this.#client.destroy(new Error(reasonOf(error)));
    }
  }

  toClient(message: WireMessage): void {
    this.rawToClient(`${JSON.stringify(message)}\r\n`);
  }

  rawToClient(bytes: string | Buffer): void {
    if (this.#client.writable) this.#client.write(bytes);
  }

  toQemu(message: WireMessage): void {
    if (this.#qemu?.writable) this.#qemu.write(`${JSON.stringify(message)}\n`);
  }

  close(): void {
    this.#dialling.abort();
    this.#client.destroy();
    this.#qemu?.destroy();
  }

  #relay(from: Socket, take: (message: WireMessage) => void): void {
    const decoder = new LineDecoder();
    from.on('data', (chunk: Buffer) => {
      try {
        for (const line of decoder.push(chunk)) take(asMessage(parseJson(line)));
      } catch {
        this.close(); // not JSON: nothing a hook could look at
      }
    });
  }

  #fromClient(message: WireMessage): void {
    const name = String(message.execute ?? message['exec-oob'] ?? '');
    const action = this.#hooks().onCommand?.(name, message) ?? 'pass';
    if (typeof action === 'object' && 'answer' in action) {
      this.toClient({ ...action.answer, id: message.id });
      return;
    }
    this.#commands.set(message.id, name);
    perform(action, message, (each) => this.toQemu(each));
  }

  #fromQemu(message: WireMessage): void {
    perform(this.#actionFor(message), message, (each) => this.toClient(each));
  }

  #actionFor(message: WireMessage): ProxyAction {
    if (typeof message.event === 'string') {
      return this.#hooks().onEvent?.(message.event, message) ?? 'pass';
    }
    if (!('return' in message) && !('error' in message)) return 'pass';
    const command = this.#commands.get(message.id) ?? '';
    this.#commands.delete(message.id);
    return this.#hooks().onReply?.(command, message) ?? 'pass';
  }
}

function perform(action: ProxyAction, message: WireMessage, send: (message: WireMessage) => void): void {
  if (action === 'pass') send(message);
  else if (action === 'swallow') return;
  else if ('replace' in action) for (const each of action.replace) send(each);
  else if ('hold' in action) {
    action.hold.then(
      () => send(message),
      () => {},
    );
  }
}

function asMessage(value: unknown): WireMessage {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('not an object');
  return { ...value };
}
