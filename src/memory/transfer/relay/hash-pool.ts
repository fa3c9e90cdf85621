/** Hashes the pages of batches, in worker threads where there are enough of them. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { HASH_BYTES } from '../pages/page-hash.ts';
import type { Batch } from '../wire/batch.ts';
import { type HashAnswer, type HashJob, hashPages } from './hash-job.ts';

/** Fewer pages are hashed sooner than a thread is told of them. */
const FEW_PAGES = 16;

const WORKER = new URL(`./hash-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

/** By default the thread that reads and sends has a processor of its own. */
export function defaultHashThreads(): number {
  return Math.max(1, availableParallelism() - 1);
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, PromiseWithResolvers<Uint8Array>>;
}

export class HashPool {
  readonly #threads: Thread[] = [];
  readonly #most: number;
  #next = 0;
  #closed = false;

  /** @param threads 0: all is hashed by who asks */
  constructor(threads = defaultHashThreads()) {
    this.#most = threads;
  }

  /** @returns the hashes of a batch's pages, in their order */
  async hash(batch: Batch): Promise<Uint8Array> {
    const places = batch.tokens.filter((token) => token.kind === 'page');
    const shared = places.find(({ chunk }) => chunk.buffer instanceof SharedArrayBuffer)?.chunk.buffer;
    if (places.length < FEW_PAGES || this.#most === 0 || !(shared instanceof SharedArrayBuffer)) {
      const each = places.map(({ chunk, from }) => hashPages(chunk, [from]));
      return Buffer.concat(each);
    }
    // the page between two chunks lies in neither
    const offsets = new Uint32Array(
      places.flatMap(({ chunk, from }) => (chunk.buffer === shared ? [chunk.byteOffset + from] : [])),
    );
    const there = await this.#ask(shared, offsets);
    const hashes = new Uint8Array(places.length * HASH_BYTES);
    let at = 0;
    for (const [n, { chunk, from }] of places.entries()) {
      const mine = chunk.buffer === shared;
      hashes.set(mine ? there.subarray(at, at + HASH_BYTES) : hashPages(chunk, [from]), n * HASH_BYTES);
      if (mine) at += HASH_BYTES;
    }
    return hashes;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  #ask(shared: SharedArrayBuffer, offsets: Uint32Array): Promise<Uint8Array> {
    const thread = this.#leastBusy();
    const answer = Promise.withResolvers<Uint8Array>();
    const job: HashJob = { id: this.#next++, shared, offsets };
    thread.jobs.set(job.id, answer);
    thread.worker.postMessage(job);
    return answer.promise;
  }

  #leastBusy(): Thread {
    const [first] = this.#threads.toSorted((one, other) => one.jobs.size - other.jobs.size);
    if (first !== undefined && (first.jobs.size === 0 || this.#threads.length >= this.#most)) return first;
    const thread: Thread = { worker: new Worker(WORKER), jobs: new Map() };
    thread.worker.on('message', ({ id, hashes }: HashAnswer) => {
      thread.jobs.get(id)?.resolve(hashes);
      thread.jobs.delete(id);
    });
    const fail = (why: Error) => {
      this.#threads.splice(this.#threads.indexOf(thread), 1);
      for (const { reject } of thread.jobs.values()) reject(why);
    };
    thread.worker.on('error', fail);
    thread.worker.on('exit', () => {
      if (!this.#closed) fail(new Error('a thread that hashes pages has ended'));
    });
    thread.worker.unref();
    this.#threads.push(thread);
    return thread;
  }
}
