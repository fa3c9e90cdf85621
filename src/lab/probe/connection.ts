import { connect, type Socket } from 'node:net';
import type { ConnectionKind, ConnectionResult } from './messages.ts';

/** Where the guest's services are. */
export interface ServiceAddress {
  host: string;
  port: number;
}

/**
 * What the probe's connections share: opening, noticing that the connection is lost, and the record of how it went.
 * A subclass does the talking.
 */
export abstract class ProbeConnection {
  protected readonly socket: Socket;
  protected readonly record: ConnectionResult;
  /** Rejects when the connection is lost; a connection that ends as it should does not settle it. */
  protected readonly lost: Promise<never>;
  /** Resolves when the connection is established. */
  readonly opened: Promise<void>;
  #finished = false;

  /** @param readBytes the most that is taken from the connection at once */
  constructor(kind: ConnectionKind, address: ServiceAddress, readBytes = 4096) {
    this.record = {
      kind,
      opened: false,
      survived: false,
      bytes: 0,
      outOfOrder: 0,
      corrupt: 0,
      longestStallMs: 0,
    };
    const buffer = Buffer.allocUnsafe(readBytes);
    const callback = (count: number) => this.hear(buffer.subarray(0, count));
    this.socket = connect({ ...address, allowHalfOpen: true, onread: { buffer, callback } });
    this.socket.setNoDelay(true);
    this.lost = new Promise((_, reject) => {
      const lose = (why: string) => {
        if (this.#finished) return;
        this.record.error ??= why;
        reject(new Error(this.record.error));
      };
      this.socket.on('error', (error) => lose(error.message));
      this.socket.on('end', () => lose('closed by the peer'));
      this.socket.on('close', () => lose('closed'));
    });
    this.lost.catch(() => {}); // noted in the record; whoever waits hears of it
    this.opened = Promise.race([
      new Promise<void>((resolve) => {
        this.socket.once('connect', () => {
          this.record.opened = true;
          resolve();
        });
      }),
      this.lost,
    ]);
    this.opened.catch(() => {});
  }

  /** Proves that the connection still works, closes it and says how it went. Never rejects. */
  async finish(limitMs: number): Promise<ConnectionResult> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${limitMs} ms at the end`)), limitMs);
    });
    try {
      await Promise.race([this.opened.then(() => this.prove()), this.lost, late]);
      this.record.survived = true;
    } catch (error) {
      this.record.error ??= error instanceof Error ? error.message : String(error);
    }
    clearTimeout(timer);
    this.record.longestStallMs = this.longestStallMs();
    this.#finished = true;
    this.socket.destroy();
    return this.record;
  }

  /** From now on the peer may close the connection: that is how this service answers. */
  protected expectEnd(): void {
    this.#finished = true;
  }

  /** Takes what has come; `data` is overwritten afterwards. Returns false to be given no more until `resume`. */
  protected abstract hear(data: Buffer): boolean;

  /** Resolves when the connection has shown that it works now; rejects otherwise. */
  protected abstract prove(): Promise<void>;

  protected abstract longestStallMs(): number;
}
