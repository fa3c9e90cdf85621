/** Numbered frames that the other end has not taken yet: sent, and sent again when the connection that had them died. */
import { raceSignal } from '../../../base/deadline.ts';
import { nonsense } from './bytes.ts';
import type { Connection } from './connection.ts';
import { type Frame, HEAD_BYTES } from './frame.ts';
import { SendWindow } from './send-window.ts';

interface Sent {
  readonly frame: Frame;
  readonly bytes: number;
  readonly onTaken: (() => void) | undefined;
  /** The connection that has it; undefined while it waits for one. */
  on: Connection | undefined;
  atMs: number;
  times: number;
}

/** What a limited rate may be ahead by, ms. */
const BURST_MS = 50;

export class Outbox {
  readonly window = new SendWindow();
  wireBytes = 0;
  readonly #connections: () => readonly Connection[];
  readonly #rate: number | undefined;
  /** By number; the first is the oldest. */
  readonly #sent = new Map<number, Sent>();
  /** Those that wait for a connection, in order. */
  #waiting: Sent[] = [];
  #next = 0;
  #bytes = 0;
  #roomFor: (() => void)[] = [];
  #onDrained: (() => void)[] = [];
  /** Bytes that may go at once where the rate is limited. */
  #allowed: number;
  #allowedAt = performance.now();
  #later: NodeJS.Timeout | undefined;

  constructor(connections: () => readonly Connection[], rate: number | undefined) {
    this.#connections = connections;
    this.#rate = rate;
    this.#allowed = rate === undefined ? Number.POSITIVE_INFINITY : (rate * BURST_MS) / 1000;
  }

  async send(
    kind: number,
    payload: Uint8Array,
    { urgent = false, onTaken }: { urgent?: boolean; onTaken?: () => void },
    over: AbortSignal,
  ): Promise<void> {
    const frame = { kind, number: this.#next, payload };
    this.#next += 1;
    const bytes = HEAD_BYTES + payload.length;
    const sent: Sent = { frame, bytes, onTaken, on: undefined, atMs: 0, times: 0 };
    this.#bytes += bytes;
    this.#sent.set(frame.number, sent);
    this.#waiting.push(sent);
    this.pump();
    while (!urgent && this.#bytes > this.window.bytes)
      await raceSignal(new Promise<void>((resolve) => this.#roomFor.push(resolve)), over);
  }

  async drained(over: AbortSignal): Promise<void> {
    while (this.#sent.size > 0)
      await raceSignal(new Promise<void>((resolve) => this.#onDrained.push(resolve)), over);
  }

  /** Writes what waits to whichever connection has the least to do. */
  pump(): void {
    const free = this.#connections().filter((each) => !each.full);
    while (this.#waiting.length > 0) {
      const [first] = free.toSorted((one, other) => one.waiting - other.waiting);
      if (first === undefined || first.full || !this.#mayGo()) return;
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next.on = first;
      next.atMs = performance.now();
      next.times += 1;
      this.wireBytes += next.bytes;
      this.#allowed -= next.bytes;
      first.write(next.frame);
    }
  }

  /** A new connection: the other end says how many frames it has received in order. */
  received(count: number): void {
    if (count > this.#next) throw nonsense('frames that were never sent');
    this.#waiting = this.#waiting.filter(({ frame }) => frame.number >= count);
    this.pump();
  }

  /** The other end has taken so many frames. */
  taken(count: number): void {
    if (count > this.#next) throw nonsense('frames that were never sent');
    const now = performance.now();
    for (const [number, sent] of this.#sent) {
      if (number >= count) break;
      this.#sent.delete(number);
      this.#bytes -= sent.bytes;
      this.window.taken(sent.bytes, now, sent.times === 1 ? now - sent.atMs : undefined);
      sent.onTaken?.();
    }
    this.#waiting = this.#waiting.filter(({ frame }) => frame.number >= count);
    const waiters = this.#bytes <= this.window.bytes ? this.#roomFor.splice(0) : [];
    for (const each of waiters) each();
    if (this.#sent.size === 0) for (const each of this.#onDrained.splice(0)) each();
  }

  /** What a connection had goes over another one. */
  lost(connection: Connection): void {
    for (const sent of this.#sent.values()) {
      if (sent.on !== connection) continue;
      sent.on = undefined;
      this.#waiting.push(sent);
    }
    this.#waiting.sort((one, other) => one.frame.number - other.frame.number);
    this.pump();
  }

  stop(): void {
    clearTimeout(this.#later);
    this.#waiting = [];
    this.#sent.clear();
  }

  #mayGo(): boolean {
    if (this.#rate === undefined) return true;
    const now = performance.now();
    const most = (this.#rate * BURST_MS) / 1000;
    this.#allowed = Math.min(most, this.#allowed + ((now - this.#allowedAt) * this.#rate) / 1000);
    this.#allowedAt = now;
    if (this.#allowed > 0) return true;
    this.#later ??= setTimeout(
      () => {
        this.#later = undefined;
        this.pump();
      },
      Math.ceil((-this.#allowed * 1000) / this.#rate) + 1,
    );
    return false;
  }
}
