/** Chunks of a stream that are read into memory which worker threads see too, and that are used again. */

/** What a socket is read into at once. */
export const CHUNK_BYTES = 256 * 1024;

export interface Chunk {
  readonly shared: SharedArrayBuffer;
  readonly bytes: Uint8Array;
}

export class ChunkPool {
  readonly #free: Chunk[] = [];

  take(): Chunk {
    const found = this.#free.pop();
    if (found !== undefined) return found;
    const shared = new SharedArrayBuffer(CHUNK_BYTES);
    return { shared, bytes: new Uint8Array(shared) };
  }

  give(chunk: Chunk): void {
    this.#free.push(chunk);
  }
}
