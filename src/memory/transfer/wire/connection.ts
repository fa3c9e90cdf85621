/** One connection of a link: frames in both directions, and what is on its way in it. */
import type { Duplex } from 'node:stream';
import { type Frame, FrameReader, frameHead } from './frame.ts';

/** More bytes than that do not wait in a connection, so that another one can take them. */
const FULL_BYTES = 256 * 1024;

export interface ConnectionEvents {
  frame(connection: Connection, frame: Frame): void;
  /** More can be written. */
  drain(): void;
  gone(connection: Connection, why: Error): void;
}

export class Connection {
  /** Both ends have said who they are. */
  ready = false;
  /** When anything was last heard, by `performance.now`. */
  heardAt = performance.now();
  readonly #socket: Duplex;
  readonly #events: ConnectionEvents;
  #gone = false;

  constructor(socket: Duplex, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    const reader = new FrameReader((frame) => {
      if (!this.#gone) events.frame(this, frame);
    });
    socket.on('data', (chunk: Buffer) => {
      this.heardAt = performance.now();
      try {
        reader.push(chunk);
      } catch (error) {
        this.end(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on('drain', () => events.drain());
    socket.on('error', (error) => this.end(error));
    socket.on('close', () => this.end(new Error('the connection was closed')));
    socket.on('end', () => this.end(new Error('the other end closed the connection')));
  }

  get full(): boolean {
    return this.#socket.writableLength >= FULL_BYTES;
  }

  get waiting(): number {
    return this.#socket.writableLength;
  }

  write(frame: Frame): void {
    if (this.#gone) return;
    this.#socket.cork();
    this.#socket.write(frameHead(frame));
    if (frame.payload.length > 0) this.#socket.write(frame.payload);
    this.#socket.uncork();
  }

  /** Says a last word, and closes when it has gone out. */
  finish(frame: Frame): void {
    this.write(frame);
    this.#gone = true;
    this.#socket.end();
  }

  end(why: Error): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#socket.destroy();
    this.#events.gone(this, why);
  }
}
