import { createHash } from 'node:crypto';
import { ProbeConnection, type ServiceAddress } from './connection.ts';
import { BulkContent, parseDigestAnswer, patternBlock, wrongPatternBytes } from './content.ts';
import { epochMs, RateLimit, WaitMeter } from './meters.ts';

const READ_MS = 4;
const LARGEST_WRITE = 256 * 1024;

export type OnBytes = (atMs: number, bytes: number) => void;

/** Sends to the guest's digest service at a limited rate; at the end both sides' digests are compared. */
export class BulkIn extends ProbeConnection {
  readonly #content = new BulkContent(1);
  readonly #hash = createHash('sha256');
  readonly #wait = new WaitMeter();
  readonly #onTaken: OnBytes;
  readonly #limit: RateLimit;
  readonly #timer: NodeJS.Timeout;
  #idle: (() => void) | undefined;
  #writing = false;
  #answer = '';

  constructor(address: ServiceAddress, pace: { bytesPerSecond: number; everyMs: number }, onTaken: OnBytes) {
    super('bulk-in', address);
    this.#onTaken = onTaken;
    this.#limit = new RateLimit(pace.bytesPerSecond, epochMs());
    this.#timer = setInterval(() => this.#write(), pace.everyMs);
  }

  #write(): void {
    if (this.#writing || !this.record.opened || this.record.error !== undefined) return;
    const now = epochMs();
    const count = Math.min(this.#limit.available(now), LARGEST_WRITE);
    if (count <= 0) return;
    const piece = this.#content.next(count);
    this.#limit.take(count);
    this.#hash.update(piece);
    this.record.bytes += count;
    this.#writing = true;
    this.#wait.begin(now);
    // Called when the kernel has taken it, which it does while its buffer has room.
    this.socket.write(piece, () => {
      const taken = epochMs();
      this.#writing = false;
      this.#wait.end(taken);
      this.#onTaken(taken, count);
      this.#idle?.();
    });
  }

  protected override hear(data: Buffer): boolean {
    this.#answer += data.toString('latin1');
    return true;
  }

  protected override async prove(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#writing) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    const answer = new Promise<void>((resolve, reject) => {
      this.socket.once('end', resolve);
      this.socket.once('error', reject); // no longer noted as a loss, once the end is expected
    });
    this.expectEnd();
    this.socket.end();
    await answer;
    const digest = parseDigestAnswer(this.#answer);
    if (!digest) throw new Error(`the digest service answered ${JSON.stringify(this.#answer.slice(0, 100))}`);
    if (digest.sha256 !== this.#hash.digest('hex') || digest.bytes !== this.record.bytes) {
      this.record.corrupt++;
    }
  }

  protected override longestStallMs(): number {
    clearInterval(this.#timer);
    this.#wait.end(epochMs());
    return this.#wait.longestMs;
  }
}

/** Reads from the guest's source service at a limited rate and checks each byte. */
export class BulkOut extends ProbeConnection {
  readonly #block = patternBlock();
  readonly #wait = new WaitMeter();
  readonly #onRead: OnBytes;
  readonly #limit: RateLimit;
  #timer: NodeJS.Timeout | undefined;
  #arrived: (() => void) | undefined;

  constructor(address: ServiceAddress, bytesPerSecond: number, onRead: OnBytes) {
    // Small reads: the kernel takes large ones for a sign that its buffer is too small, and a large buffer hides stalls.
    super('bulk-out', address, Math.max(4096, Math.round((bytesPerSecond * READ_MS) / 1000)));
    this.#onRead = onRead;
    this.#limit = new RateLimit(bytesPerSecond, epochMs());
    this.socket.on('connect', () => this.#wait.begin(epochMs()));
  }

  protected override hear(data: Buffer): boolean {
    const now = epochMs();
    this.#wait.end(now);
    this.record.corrupt += wrongPatternBytes(this.#block, data, this.record.bytes);
    this.record.bytes += data.length;
    this.#onRead(now, data.length);
    this.#arrived?.();
    this.#limit.available(now);
    this.#limit.take(data.length);
    const waitMs = this.#limit.waitMs(now);
    if (waitMs === 0) {
      this.#wait.begin(now);
      return true;
    }
    this.#timer = setTimeout(() => {
      this.#wait.begin(epochMs());
      this.socket.resume();
    }, waitMs);
    return false;
  }

  protected override async prove(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#arrived = resolve;
    });
  }

  protected override longestStallMs(): number {
    clearTimeout(this.#timer);
    this.#wait.end(epochMs());
    return this.#wait.longestMs;
  }
}
