/** Bytes of frames: written as needed, read with every bound checked. */
import { ShadowferryError } from '../../../errors.ts';

/** What the other end said cannot be. */
export function nonsense(why: string): ShadowferryError {
  return new ShadowferryError('TRANSFER_PROTOCOL', { why });
}

export class ByteWriter {
  #bytes: Buffer;
  #length = 0;
  readonly #max: number;

  /**
   * @param max more bytes than that are nonsense
   * @param expected bytes that it will probably be: growing costs a copy, and the garbage collector's time
   */
  constructor(max: number, expected: number) {
    this.#max = max;
    this.#bytes = Buffer.allocUnsafeSlow(Math.min(max, expected));
  }

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    this.#bytes[this.room(1)] = value;
  }

  /** A whole number from 0, 7 bits a byte, the lowest first. */
  number(value: number): void {
    let left = value;
    while (left >= 0x80) {
      this.byte((left % 0x80) + 0x80);
      left = Math.floor(left / 0x80);
    }
    this.byte(left);
  }

  copy(from: Uint8Array, start = 0, end = from.length): void {
    const at = this.room(end - start);
    this.#bytes.set(from.subarray(start, end), at);
  }

  /** @returns where so many bytes begin, which the caller fills in {@link bytes} */
  room(count: number): number {
    const at = this.#length;
    if (at + count > this.#max) throw nonsense(`a frame of more than ${this.#max} bytes`);
    this.#length = at + count;
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.min(this.#max, Math.max(this.#length, this.#bytes.length * 2)));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    return at;
  }

  /** What was written; it stays the writer's. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) throw nonsense('a frame that ends too early');
    this.#at += 1;
    return value;
  }

  /** @throws TRANSFER_PROTOCOL for numbers that are not exact, or larger than `max` */
  number(max = Number.MAX_SAFE_INTEGER): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value > max || scale > 2 ** 49) throw nonsense('a number that is too large');
      if (byte < 0x80) return value;
    }
  }

  take(count: number): Uint8Array {
    if (count > this.left) throw nonsense('a frame that ends too early');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}
