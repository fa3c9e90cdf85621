/**
 * What the probes send and expect, byte for byte, so that any change on the way shows. Pure.
 */

/** Bytes of one record of the echo stream. */
export const RECORD_BYTES = 64;
const RECORD_MAGIC = 0x5f_e7_12_a5;
const HEADER_BYTES = 16;

/** Bytes after which the source service's content repeats. */
export const PATTERN_BYTES = 65_536;

/** Makes record number `sequence` of the echo stream: magic, number, send time (epoch ms), filler made from the number. */
export function encodeRecord(sequence: number, sentMs: number): Buffer {
  const record = Buffer.allocUnsafe(RECORD_BYTES);
  record.writeUInt32BE(RECORD_MAGIC, 0);
  record.writeUInt32BE(sequence >>> 0, 4);
  record.writeDoubleBE(sentMs, 8);
  fillPseudoRandom(record.subarray(HEADER_BYTES), sequence);
  return record;
}

/** Reads a record back; undefined when any byte that can be checked is not as it was sent. */
export function decodeRecord(record: Buffer): { sequence: number; sentMs: number } | undefined {
  if (record.length !== RECORD_BYTES || record.readUInt32BE(0) !== RECORD_MAGIC) return undefined;
  const sequence = record.readUInt32BE(4);
  const filler = Buffer.allocUnsafe(RECORD_BYTES - HEADER_BYTES);
  fillPseudoRandom(filler, sequence);
  if (filler.compare(record, HEADER_BYTES) !== 0) return undefined;
  return { sequence, sentMs: record.readDoubleBE(8) };
}

/** Fills `target` with bytes that depend on `seed` only (xorshift32). */
export function fillPseudoRandom(target: Buffer, seed: number): void {
  let state = (Math.imul(seed, 2_654_435_761) ^ 0x9e3779b9) >>> 0 || 1;
  for (let at = 0; at < target.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    target[at] = state;
  }
}

/** The guest's source service sends this block again and again. */
export function patternBlock(): Buffer {
  const block = Buffer.allocUnsafe(PATTERN_BYTES);
  for (let at = 0; at < PATTERN_BYTES; at++) block[at] = (at * 7 + (at >> 8) * 13) & 255;
  return block;
}

/** Counts the bytes of `chunk`, found at `position` of the source service's stream, that are not as they must be. */
export function wrongPatternBytes(block: Buffer, chunk: Buffer, position: number): number {
  let wrong = 0;
  for (let done = 0; done < chunk.length; ) {
    const from = (position + done) % PATTERN_BYTES;
    const count = Math.min(chunk.length - done, PATTERN_BYTES - from);
    if (chunk.compare(block, from, from + count, done, done + count) !== 0) {
      for (let at = 0; at < count; at++) if (chunk[done + at] !== block[from + at]) wrong++;
    }
    done += count;
  }
  return wrong;
}

const BULK_BLOCK_BYTES = 1 << 20;
const STAMP_BYTES = 8;

/** The content that is sent to the guest's digest service: pseudo-random, each piece stamped with its position. */
export class BulkContent {
  readonly #block = Buffer.allocUnsafe(BULK_BLOCK_BYTES);
  #position = 0;

  constructor(seed: number) {
    fillPseudoRandom(this.#block, seed);
  }

  /** The next `count` bytes (1 to 512 KiB). */
  next(count: number): Buffer {
    const from = this.#position % (BULK_BLOCK_BYTES / 2);
    const piece = Buffer.from(this.#block.subarray(from, from + count));
    if (count >= STAMP_BYTES) piece.writeDoubleBE(this.#position, 0);
    this.#position += count;
    return piece;
  }
}

/** Reads the digest service's answer: the SHA-256 in hex and the count of bytes; undefined when it is neither. */
export function parseDigestAnswer(text: string): { sha256: string; bytes: number } | undefined {
  const found = /^([0-9a-f]{64})\s+(\d+)\s*$/i.exec(text);
  const [, sha256, bytes] = found ?? [];
  if (sha256 === undefined || bytes === undefined) return undefined;
  return { sha256: sha256.toLowerCase(), bytes: Number(bytes) };
}
