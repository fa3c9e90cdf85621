import { HASH_BYTES, hashPage } from '../pages/page-hash.ts';
import { PAGE_BYTES } from '../stream/format.ts';

/** Pages of one chunk. */
export interface HashJob {
  readonly id: number;
  readonly shared: SharedArrayBuffer;
  /** Where pages begin. */
  readonly offsets: Uint32Array;
}

export interface HashAnswer {
  readonly id: number;
  readonly hashes: Uint8Array;
}

/** @returns the hashes one after another */
export function hashPages(bytes: Uint8Array, offsets: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const hashes = new Uint8Array(offsets.length * HASH_BYTES);
  for (let n = 0; n < offsets.length; n++) {
    const from = offsets[n] ?? 0;
    hashes.set(hashPage(bytes.subarray(from, from + PAGE_BYTES)), n * HASH_BYTES);
  }
  return hashes;
}
