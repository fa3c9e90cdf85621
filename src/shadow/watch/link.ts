/** The host's end of the watcher's port. Lines are bounded and parsed: the guest is not trusted. */
import type { Socket } from 'node:net';
import { raceSignal } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { dial } from '../../hypervisor/qmp/dial.ts';
import { MAX_WATCHER_LINE, parseWatcherEvent, type WatcherEvent } from './watcher.ts';

interface Waiter {
  accepts: (event: WatcherEvent) => boolean;
  resolve: (event: WatcherEvent) => void;
}

/** Told of what comes by itself. */
export interface WatcherListener {
  changed: () => void;
  /** A device has no interface any more, by its PCI address. */
  gone: (pci: string) => void;
}

export class WatcherLink {
  /** Resolves with the reason when the other side has closed it, as QEMU does when the VM has left. Never rejects. */
  readonly closed: Promise<string>;
  readonly #socket: Socket;
  readonly #waiters = new Set<Waiter>();
  readonly #heard: WatcherListener;
  #pending = '';
  #token: string | undefined;
  #pings = 0;

  private constructor(socket: Socket, heard: WatcherListener) {
    this.#socket = socket;
    this.#heard = heard;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    this.closed = new Promise((resolve) => {
      socket.once('error', (error) => resolve(reasonOf(error)));
      socket.once('close', () => resolve("the VM's port closed"));
    });
  }

  /** Connects to QEMU's end of the port; while there is none, tries again until `signal` aborts. */
  static async connect(path: string, heard: WatcherListener, signal: AbortSignal): Promise<WatcherLink> {
    return new WatcherLink(await dial(path, signal), heard);
  }

  /**
   * The version of the watcher that runs in the guest, which greets whoever connects; call it first of all.
   * @throws the signal's reason when none says a word
   */
  async hello(signal: AbortSignal): Promise<string> {
    const event = await this.#wait((one) => one.e === 'hello', signal);
    return event.e === 'hello' ? event.version : '';
  }

  /** Lets the watcher tell the next change. */
  arm(): void {
    this.#say('arm');
  }

  /** Asks for a sign of life. @returns what does not listen any more @throws WATCHER_LOST or the signal's reason */
  async ping(signal: AbortSignal): Promise<string[]> {
    this.#pings += 1;
    const n = this.#pings;
    const pong = this.#wait((one) => one.e === 'pong' && one.n === n, signal);
    this.#say(`ping ${n}`);
    const event = await pong;
    return event.e === 'pong' ? event.deaf : [];
  }

  /** Ends the watcher and removes it from the guest. @throws WATCHER_LOST or the signal's reason */
  async stop(signal: AbortSignal): Promise<void> {
    const stopped = this.#wait((one) => one.e === 'stopped', signal);
    this.#say('stop');
    await stopped;
  }

  /** Lets go of the port; the watcher stays in the guest and waits for the next host. */
  close(): void {
    this.#socket.destroy();
  }

  #say(words: string): void {
    this.#socket.write(`${this.#token ?? ''} ${words}\n`);
  }

  async #wait(accepts: Waiter['accepts'], signal: AbortSignal): Promise<WatcherEvent> {
    const { promise, resolve } = Promise.withResolvers<WatcherEvent>();
    const waiter: Waiter = { accepts, resolve };
    this.#waiters.add(waiter);
    const lost = this.closed.then((why) => {
      throw new ShadowferryError('WATCHER_LOST', { why });
    });
    const either = Promise.race([promise, lost]);
    // the loss comes in any case, also when nobody waits any more, or never did because the time was over
    either.catch(() => {});
    try {
      return await raceSignal(either, signal);
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  #receive(text: string): void {
    this.#pending += text;
    for (let end = this.#pending.indexOf('\n'); end >= 0; end = this.#pending.indexOf('\n')) {
      const event = parseWatcherEvent(this.#pending.slice(0, end));
      this.#pending = this.#pending.slice(end + 1);
      if (event !== undefined) this.#deliver(event);
    }
    // a guest that never ends its line must not fill our memory
    if (this.#pending.length > MAX_WATCHER_LINE) this.#pending = '';
  }

  #deliver(event: WatcherEvent): void {
    if (event.e === 'hello') this.#token = event.token;
    if (event.e === 'changed') this.#heard.changed();
    if (event.e === 'gone') this.#heard.gone(event.pci);
    for (const waiter of [...this.#waiters]) if (waiter.accepts(event)) waiter.resolve(event);
  }
}
