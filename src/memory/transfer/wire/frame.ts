/** Frames on a connection: a head of 16 bytes, a payload, and a checksum over both. */
import { crc32 } from 'node:zlib';
import { nonsense } from './bytes.ts';
import { MAX_PAYLOAD } from './ops.ts';

export const HEAD_BYTES = 16;

/** Frames of the link itself; those from {@link FIRST_KIND} on are numbered, and belong to who uses the link. */
export const LINK_FRAME = { hello: 1, ack: 2, ping: 3, bye: 4, abort: 5 } as const;
export const FIRST_KIND = 16;

export interface Frame {
  readonly kind: number;
  /** Of numbered frames their number, of an `ack` how many were taken. */
  readonly number: number;
  readonly payload: Uint8Array;
}

export function frameHead({ kind, number, payload }: Frame): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(payload.length, 0);
  head.writeUInt8(kind, 4);
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(crc32(payload, crc32(head.subarray(0, 12))), 12);
  return head;
}

/** Puts frames together from chunks of any size; keeps no more than one frame. */
export class FrameReader {
  readonly #each: (frame: Frame) => void;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headBytes = 0;
  #payload: Buffer | undefined;
  #payloadBytes = 0;

  /** @param each called for each frame; its payload is nobody else's */
  constructor(each: (frame: Frame) => void) {
    this.#each = each;
  }

  /** @throws TRANSFER_PROTOCOL */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payload === undefined) {
        const count = Math.min(HEAD_BYTES - this.#headBytes, chunk.length - at);
        this.#head.set(chunk.subarray(at, at + count), this.#headBytes);
        this.#headBytes += count;
        at += count;
        if (this.#headBytes < HEAD_BYTES) return;
        const length = this.#head.readUInt32BE(0);
        if (length > MAX_PAYLOAD) throw nonsense(`a frame of ${length} bytes`);
        this.#payload = Buffer.allocUnsafeSlow(length);
        this.#payloadBytes = 0;
      }
      const count = Math.min(this.#payload.length - this.#payloadBytes, chunk.length - at);
      this.#payload.set(chunk.subarray(at, at + count), this.#payloadBytes);
      this.#payloadBytes += count;
      at += count;
      if (this.#payloadBytes === this.#payload.length) this.#whole(this.#payload);
    }
  }

  #whole(payload: Buffer): void {
    this.#payload = undefined;
    this.#headBytes = 0;
    const sum = crc32(payload, crc32(this.#head.subarray(0, 12)));
    if (sum !== this.#head.readUInt32BE(12)) throw nonsense('a frame whose checksum is wrong');
    this.#each({ kind: this.#head.readUInt8(4), number: this.#head.readUInt32BE(8), payload });
  }
}
