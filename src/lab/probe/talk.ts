import { ProbeConnection, type ServiceAddress } from './connection.ts';
import { encodeRecord, fillPseudoRandom } from './content.ts';
import { epochMs, WaitMeter } from './meters.ts';

const KEEPALIVE_MS = 5000;
const PAUSE_MS = 50;
const SMALLEST_REQUEST = 16;
const LARGEST_REQUEST = 1024;

/** A connection to the echo service on which one side speaks and then hears the same. */
abstract class Talk extends ProbeConnection {
  #awaited: Buffer | undefined;
  #heard: Buffer[] = [];
  #heardBytes = 0;
  #answered: (() => void) | undefined;

  /** Sends `request`; resolves when as many bytes have come back, having compared them. */
  protected async exchange(request: Buffer): Promise<void> {
    const answer = new Promise<void>((resolve) => {
      this.#answered = resolve;
    });
    this.#awaited = request;
    this.socket.write(request);
    await Promise.race([answer, this.lost]);
  }

  protected override hear(data: Buffer): boolean {
    this.record.bytes += data.length;
    if (!this.#awaited) {
      this.record.corrupt++; // nobody has asked for it
      return true;
    }
    this.#heard.push(Buffer.from(data));
    this.#heardBytes += data.length;
    if (this.#heardBytes < this.#awaited.length) return true;
    if (!Buffer.concat(this.#heard).equals(this.#awaited)) this.record.corrupt++;
    this.#awaited = undefined;
    this.#heard = [];
    this.#heardBytes = 0;
    this.#answered?.();
    return true;
  }
}

/** Says nothing until the end, but has keep-alive on; then one record must come back. */
export class Idle extends Talk {
  constructor(address: ServiceAddress) {
    super('idle', address);
    this.socket.setKeepAlive(true, KEEPALIVE_MS);
  }

  protected override async prove(): Promise<void> {
    await this.exchange(encodeRecord(1, epochMs()));
  }

  protected override longestStallMs(): number {
    return 0; // it waits for nothing
  }
}

/** Asks, waits for the whole answer, pauses, asks again. */
export class RequestResponse extends Talk {
  readonly #wait = new WaitMeter();
  #number = 0;
  #timer: NodeJS.Timeout | undefined;
  #current: Promise<void> | undefined;

  constructor(address: ServiceAddress) {
    super('request', address);
    this.socket.once('connect', () => this.#ask());
  }

  #ask(): void {
    this.#wait.begin(epochMs());
    this.#current = this.exchange(this.#next()).then(() => {
      this.#wait.end(epochMs());
      this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
    });
    this.#current.catch(() => {}); // the loss is in the record
  }

  #next(): Buffer {
    const size = Buffer.allocUnsafe(4);
    fillPseudoRandom(size, ++this.#number);
    const request = Buffer.allocUnsafe(
      SMALLEST_REQUEST + (size.readUInt32BE() % (LARGEST_REQUEST - SMALLEST_REQUEST + 1)),
    );
    fillPseudoRandom(request, this.#number);
    return request;
  }

  protected override async prove(): Promise<void> {
    await this.#current; // the answer that is being waited for
    clearTimeout(this.#timer);
    await this.exchange(this.#next());
  }

  protected override longestStallMs(): number {
    clearTimeout(this.#timer);
    this.#wait.end(epochMs());
    return this.#wait.longestMs;
  }
}
