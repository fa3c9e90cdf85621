import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { goFirst, runProbe, tell, tellSamples, untilStopped, watchLateness } from './child.ts';
import { decodeRecord, encodeRecord, RECORD_BYTES } from './content.ts';
import type { ConnectionResult } from './messages.ts';
import { Buckets, epochMs, GapMeter } from './meters.ts';
import { untilReachable } from './reachable.ts';

/**
 * A process: one TCP connection to the echo service, a record every so often, every echo checked, gaps measured.
 * Arguments: --target ADDRESS --port N --every-ms N --sample-ms N --gap-ms N --finish-ms N
 */

/** What may be on the way: an application goes on writing while the peer is away, but its memory is not endless. */
const BACKLOG_BYTES = 1 << 20;

class EchoStream {
  readonly result: ConnectionResult = {
    kind: 'echo',
    opened: false,
    survived: false,
    bytes: 0,
    outOfOrder: 0,
    corrupt: 0,
    longestStallMs: 0,
  };
  readonly gaps: GapMeter;
  readonly #socket: Socket;
  readonly #buckets: Buckets;
  #sent = 0;
  #echoed = 0;
  #expected = 0;
  #rest = Buffer.alloc(0);
  #sending = false;
  #changed: () => void = () => {};

  constructor(socket: Socket, buckets: Buckets, gapMs: number) {
    this.#socket = socket;
    this.#buckets = buckets;
    this.gaps = new GapMeter(gapMs, (gap) => tell({ type: 'gap', ...gap }));
    socket.setNoDelay(true);
    socket.on('connect', () => {
      this.result.opened = true;
      this.#sending = true;
      this.#changed();
    });
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', (error) => this.#lost(error.message));
    socket.on('close', () => this.#lost('closed by the peer'));
  }

  get #outstanding(): number {
    return (this.#sent - this.#echoed) * RECORD_BYTES;
  }

  get #dead(): boolean {
    return this.result.error !== undefined;
  }

  send(nowMs: number): void {
    if (!this.#sending || this.#outstanding + RECORD_BYTES > BACKLOG_BYTES) return;
    this.#socket.write(encodeRecord(this.#sent++, nowMs));
  }

  /** Resolves when `done` says so, or when the connection is lost, or after `limitMs`. */
  async #until(done: () => boolean, limitMs: number): Promise<void> {
    if (done() || this.#dead) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#changed = () => {
        if (!done() && !this.#dead) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#changed = () => {};
  }

  /** @throws Error when the connection is refused or no echo comes. */
  async firstEcho(limitMs: number): Promise<void> {
    await this.#until(() => this.#echoed > 0, limitMs);
    if (this.#echoed === 0) throw new Error(this.result.error ?? 'no echo came');
  }

  async finish(limitMs: number): Promise<ConnectionResult> {
    this.#sending = false;
    await this.#until(() => this.#outstanding === 0, limitMs);
    if (this.#outstanding > 0) {
      this.result.error ??= `${this.#sent - this.#echoed} records were not echoed within ${limitMs} ms`;
    }
    // All may have been answered when the connection was lost: there was an outage from then on nevertheless.
    if (this.#dead) this.gaps.unanswered(epochMs());
    this.result.survived = this.result.opened && !this.#dead;
    this.result.longestStallMs = this.gaps.longestMs;
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
    return this.result;
  }

  #receive(data: Buffer): void {
    const now = epochMs();
    const stream = this.#rest.length > 0 ? Buffer.concat([this.#rest, data]) : data;
    let at = 0;
    for (; at + RECORD_BYTES <= stream.length; at += RECORD_BYTES) {
      this.#check(stream.subarray(at, at + RECORD_BYTES));
      this.gaps.answered(now);
      this.#buckets.add(now, 0, 1);
      this.#echoed++;
    }
    this.#rest = Buffer.from(stream.subarray(at));
    this.#changed();
  }

  #check(record: Buffer): void {
    this.result.bytes += RECORD_BYTES;
    const decoded = decodeRecord(record);
    if (!decoded) {
      this.result.corrupt++;
      this.#expected++; // it stood where the expected one should
      return;
    }
    if (decoded.sequence !== this.#expected) this.result.outOfOrder++;
    this.#expected = Math.max(this.#expected, decoded.sequence + 1);
  }

  #lost(why: string): void {
    this.#sending = false;
    this.result.error ??= why;
    this.#changed();
  }
}

await runProbe(async () => {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', default: '' },
      port: { type: 'string', default: '7' },
      'every-ms': { type: 'string', default: '2' },
      'sample-ms': { type: 'string', default: '20' },
      'gap-ms': { type: 'string', default: '20' },
      'ready-ms': { type: 'string', default: '10000' },
      'finish-ms': { type: 'string', default: '15000' },
    },
  });
  const stopped = untilStopped();
  goFirst();
  const buckets = new Buckets(Number(values['sample-ms']), 1);
  const flush = tellSamples(buckets);
  const at = { host: values.target, port: Number(values.port) };
  await untilReachable(at, Number(values['ready-ms']));
  const socket = connect(at);
  const stream = new EchoStream(socket, buckets, Number(values['gap-ms']));
  const lateness = watchLateness(Number(values['every-ms']), (now) => stream.send(now));
  await stream.firstEcho(Number(values['ready-ms']));
  lateness(); // what the start has cost says nothing
  tell({ type: 'ready' });
  await stopped;
  const connection = await stream.finish(Number(values['finish-ms']));
  flush();
  tell({
    type: 'result',
    longestGapMs: stream.gaps.longestMs,
    lateMs: lateness(),
    connections: [connection],
  });
});
