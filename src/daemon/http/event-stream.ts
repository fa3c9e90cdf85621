/**
 * Events to many readers, as server-sent events. A reader that comes back says the last number it saw and gets what it
 * missed; one that reads too slowly is dropped when more waits for it than it may, so that it costs no memory.
 */
import type { ServerResponse } from 'node:http';
import { ShadowferryError } from '../../errors.ts';
import type { ApiEvent } from '../api/model.ts';
import type { Principal } from '../auth/principal.ts';
import type { EventLog } from './event-log.ts';

export interface StreamLimits {
  /** Streams of one principal. */
  streams: number;
  /** Bytes that may wait for a reader. */
  streamBytes: number;
}

/** Pause between signs of life, by which both sides see that the other is gone. */
const BEAT_MS = 15_000;
/** Events that are read from the log at once. */
const BATCH = 100;

/** One event as the stream has it. */
export function frame({ id, type, ...rest }: ApiEvent): string {
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ id, type, ...rest })}\n\n`;
}

interface Reader {
  response: ServerResponse;
  principal: Principal;
  /** Number of the last event that was written to it. */
  at: number;
  /** Has not caught up yet: gets what comes from the log. */
  behind: boolean;
}

export class EventHub {
  readonly #log: EventLog;
  readonly #limits: StreamLimits;
  readonly #readers = new Set<Reader>();
  readonly #beat: NodeJS.Timeout;
  readonly #onDrop: () => void;

  /** @param onDrop is told of each reader that was too slow */
  constructor(log: EventLog, limits: StreamLimits, onDrop: () => void = () => {}, beatMs = BEAT_MS) {
    this.#log = log;
    this.#limits = limits;
    this.#onDrop = onDrop;
    this.#beat = setInterval(() => this.#beatAll(), beatMs).unref();
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Writes an event to the log and to everybody who reads. */
  publish(type: string, data: Record<string, unknown>): ApiEvent {
    const event = this.#log.append(type, data);
    const text = frame(event);
    for (const reader of this.#readers) {
      if (reader.behind) continue;
      reader.at = event.id;
      this.#write(reader, text);
    }
    return event;
  }

  /**
   * Makes a stream of an answer whose head is not written yet.
   * @param after the last event that the reader has; undefined: only what comes
   * @throws STREAMS_LIMITED
   */
  open(response: ServerResponse, principal: Principal, after: number | undefined): void {
    const mine = [...this.#readers].filter((reader) => reader.principal.name === principal.name);
    if (mine.length >= this.#limits.streams) {
      throw new ShadowferryError('STREAMS_LIMITED', { principal: principal.name, max: this.#limits.streams });
    }
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    const { first, last } = this.#log.bounds();
    const reader: Reader = { response, principal, at: last, behind: false };
    this.#readers.add(reader);
    response.once('close', () => this.#readers.delete(reader));
    response.on('error', () => this.#drop(reader));
    response.write('retry: 2000\n\n');
    if (after === undefined) return;
    if (after > last || (first > 0 && after < first - 1)) {
      // what it saw is not ours, or what came next is gone: it must look at everything anew
      const missed = { after, first, last };
      response.write(`event: reset\ndata: ${JSON.stringify(missed)}\n\n`);
      if (after > last) return;
    }
    reader.at = after;
    reader.behind = true;
    this.#catchUp(reader);
  }

  /** Ends all streams. */
  close(): void {
    clearInterval(this.#beat);
    for (const { response } of this.#readers) response.end();
    this.#readers.clear();
  }

  /** Writes what is in the log as fast as the reader takes it. */
  #catchUp(reader: Reader): void {
    while (this.#readers.has(reader)) {
      const events = this.#log.after(reader.at, BATCH);
      const last = events.at(-1);
      if (last === undefined) {
        reader.behind = false;
        return;
      }
      reader.at = last.id;
      if (!reader.response.write(events.map(frame).join(''))) {
        reader.response.once('drain', () => this.#catchUp(reader));
        return;
      }
    }
  }

  #write(reader: Reader, text: string): void {
    reader.response.write(text);
    if (reader.response.writableLength > this.#limits.streamBytes) this.#drop(reader);
  }

  #drop(reader: Reader): void {
    if (!this.#readers.delete(reader)) return;
    reader.response.destroy();
    this.#onDrop();
  }

  #beatAll(): void {
    for (const reader of this.#readers) {
      const why = reader.principal.still();
      if (why === undefined) this.#write(reader, ': beat\n\n');
      else {
        // rights that were taken back end here too
        this.#readers.delete(reader);
        reader.response.end(`event: refused\ndata: ${JSON.stringify({ why })}\n\n`);
      }
    }
  }
}
