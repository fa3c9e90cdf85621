/**
 * The source's half of a versioned transfer: QEMU sends its stream to a socket of ours, and what the other end lacks of
 * it goes over the link. What cannot be understood goes as it is.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { raceSignal } from '../../../base/deadline.ts';
import { reasonOf } from '../../../errors.ts';
import { readArrived } from '../pages/arrived.ts';
import { sameLabel } from '../pages/store-model.ts';
import { StoreWriter } from '../pages/store-writer.ts';
import type { PageStores } from '../pages/stores.ts';
import { RamStreamParser } from '../stream/parser.ts';
import { Batch } from '../wire/batch.ts';
import { nonsense } from '../wire/bytes.ts';
import { Encoder, type FramePlan, printFrame } from '../wire/encode.ts';
import type { Link, LinkOptions } from '../wire/link.ts';
import { MemoryVersion } from '../wire/memory-version.ts';
import { type Chunk, ChunkPool } from './chunks.ts';
import type { HashPool } from './hash-pool.ts';
import { KIND, type Offer, parseOffer, readNumber } from './kinds.ts';
import { FREE_BYTES, pack } from './packing.ts';
import { readSocket } from './read-socket.ts';
import type { SourceReport } from './report.ts';

/** Bytes of the stream that were read and not yet taken by the other end; more make QEMU wait. */
const MOST_READ_BYTES = 16 * 1024 * 1024;
/** Frames that the other end's store could not give, before nothing of it is named any more. */
const MOST_DAMAGED = 8;

export interface SourceOptions {
  readonly vm: string;
  /** Of the owner that the VM leaves. */
  readonly epoch: number;
  /** Where the pages are kept, and what is remembered of the other end's; neither when it is left out. */
  readonly stores: PageStores | undefined;
  readonly hashes: HashPool;
  readonly zstd: boolean;
}

export class SourceRelay {
  readonly #options: SourceOptions;
  readonly #link: Link;
  readonly #pool = new ChunkPool();
  readonly #version: MemoryVersion;
  readonly #offer = Promise.withResolvers<Offer>();
  #batch = new Batch();
  readonly #parser: RamStreamParser;
  #encoder: Encoder | undefined;
  #writer: StoreWriter | undefined;
  #base: SourceReport['base'] = { known: false, why: 'nothing was sent' };
  #kept: SourceReport['kept'] = { done: false, why: 'not asked for' };
  #server: Server | undefined;
  #socket: Socket | undefined;
  #unread = 0;
  #streamBytes = 0;
  #paused = false;
  /** Frames are encoded and sent one after another. */
  #last: Promise<void> = Promise.resolve();
  /** What was sent and not taken yet, by its number. */
  readonly #plans = new Map<number, FramePlan>();
  #frames = 0;
  #sentAgain = 0;

  constructor(options: SourceOptions, makeLink: (onFrame: LinkOptions['onFrame']) => Link) {
    this.#options = options;
    this.#version = new MemoryVersion(options.vm, options.epoch);
    this.#parser = new RamStreamParser({
      bytes: (...about) => this.#batch.bytes(...about),
      block: (...about) => this.#batch.block(...about),
      page: (...about) => this.#batch.page(...about),
      zero: (...about) => this.#batch.zero(...about),
      end: () => this.#batch.end(),
    });
    this.#link = makeLink((kind, payload) => this.#frame(kind, payload));
    this.#offer.promise.catch(() => {});
    void this.#link.closed.then((error) => {
      const why = error ?? new Error('the transfer is over');
      this.#offer.reject(why);
      // else QEMU takes the silence for a slow link, for ever; what it was answered must reach it first
      if (error === undefined) this.#socket?.destroySoon();
      else this.#socket?.destroy();
      this.#server?.close();
    });
  }

  /** Waits for QEMU on a Unix socket. */
  async listen(path: string): Promise<void> {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      if (this.#socket === undefined) this.#connected(socket);
      // multifd and the channel of postcopy-preempt would each need one of their own
      else socket.destroy();
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
  }

  /** Waits for the end of the transfer, good or bad. @throws what ended the link */
  async done(): Promise<SourceReport> {
    const error = await this.#link.closed;
    await this.#last.catch(() => {});
    this.#closeStore(error);
    if (error !== undefined) throw error;
    return this.#report();
  }

  /** Ends it, if it has not ended; safe to repeat. */
  close(): void {
    this.#link.abort(new Error('it was given up'));
  }

  #closeStore(error: Error | undefined): void {
    const writer = this.#writer;
    if (writer === undefined) return;
    const { epoch } = this.#options;
    const { digest } = this.#encoder ?? {};
    const { index } = this.#version;
    if (error !== undefined) writer.drop(`the transfer failed: ${reasonOf(error)}`);
    else if (digest === undefined || index.unknown > 0) writer.drop('the memory did not go by as a whole');
    else writer.finish(index, { epoch, version: digest.toString('hex') });
    const { dropped } = writer;
    this.#kept = dropped === undefined ? { done: true, why: 'all of it' } : { done: false, why: dropped };
  }

  #report(): SourceReport {
    const { unknown } = this.#parser;
    const { digest } = this.#encoder ?? {};
    return {
      streamBytes: this.#streamBytes,
      wireBytes: this.#link.wireBytes,
      pages: this.#encoder?.counts ?? { zeros: 0, sent: 0, same: 0, recent: 0 },
      sentAgain: this.#sentAgain,
      reconnects: this.#link.reconnects,
      base: this.#base,
      kept: this.#kept,
      ...(unknown === undefined ? {} : { unknown }),
      ...(digest === undefined ? {} : { version: digest.toString('hex') }),
    };
  }

  #connected(accepted: Socket): void {
    const socket = readSocket(accepted, this.#pool, (bytes, chunk) => this.#read(bytes, chunk));
    this.#socket = socket;
    socket.on('end', () => this.#ended());
    socket.on('error', (error) => this.#link.abort(error));
    socket.on('close', () => {
      if (!socket.readableEnded) this.#link.abort(new Error("the source's QEMU broke off"));
    });
    socket.resume();
  }

  #read(bytes: Uint8Array, chunk: Chunk | undefined): boolean {
    this.#streamBytes += bytes.length;
    this.#unread += bytes.length;
    const batch = new Batch();
    this.#batch = batch;
    this.#parser.push(bytes);
    this.#inTurn(batch, () => {
      if (chunk !== undefined) this.#pool.give(chunk);
      this.#unread -= bytes.length;
      if (!this.#paused || this.#unread >= MOST_READ_BYTES) return;
      this.#paused = false;
      this.#socket?.resume();
    });
    this.#paused = this.#unread >= MOST_READ_BYTES;
    return !this.#paused;
  }

  /** QEMU has closed its end: what is left goes, and the other end's QEMU is told when it has taken all. */
  #ended(): void {
    const batch = new Batch();
    this.#batch = batch;
    this.#parser.end();
    this.#inTurn(batch, () => {});
    this.#last = this.#last.then(() => this.#link.send(KIND.end, new Uint8Array(), { urgent: true }));
    this.#last.catch((error: Error) => this.#link.abort(error));
  }

  /** Batches are hashed side by side, and encoded and sent one after another. */
  #inTurn(batch: Batch, onTaken: () => void): void {
    const hashed = this.#options.hashes.hash(batch);
    hashed.catch(() => {}); // heeded in its turn
    this.#last = this.#last.then(async () => this.#encode(batch, await hashed, onTaken));
    this.#last.catch((error: Error) => this.#link.abort(error));
  }

  async #encode(batch: Batch, hashes: Uint8Array, onTaken: () => void): Promise<void> {
    this.#encoder ??= await this.#prepare();
    const plan = this.#encoder.plan(batch, hashes, ({ block, page, chunk, from }, at) => {
      this.#writer ??= this.#openStore();
      this.#writer?.write(block, page, hashes, at, chunk, from);
    });
    const number = this.#frames++;
    this.#plans.set(number, plan);
    const payload = await pack(printFrame(plan, false, FREE_BYTES), this.#options.zstd);
    await this.#link.send(KIND.memory, payload, {
      onTaken: () => {
        this.#plans.delete(number);
        onTaken();
      },
    });
  }

  /** What the other end has is named only when it is what is remembered here, to the last bit. */
  async #prepare(): Promise<Encoder> {
    const offer = await raceSignal(this.#offer.promise, this.#link.signal);
    const nothing = (why: string) => {
      this.#base = { known: false, why };
      return new Encoder(this.#version);
    };
    if (offer.label === undefined) return nothing(offer.why ?? 'the other host keeps no pages of this VM');
    const { stores, vm } = this.#options;
    let arrived: ReturnType<typeof readArrived>;
    try {
      arrived = stores === undefined ? undefined : readArrived(stores, vm);
    } catch (error) {
      return nothing(reasonOf(error));
    }
    if (arrived === undefined) return nothing('this host does not remember what the other one keeps');
    if (!sameLabel(arrived.label, offer.label))
      return nothing('the other host keeps another version than this one remembers');
    this.#base = {
      known: true,
      why: `version ${offer.label.version.slice(0, 12)} of epoch ${offer.label.epoch}`,
    };
    return new Encoder(this.#version, arrived.index);
  }

  #openStore(): StoreWriter | undefined {
    const { stores, vm } = this.#options;
    if (stores === undefined || stores.capBytes === 0) return undefined;
    return new StoreWriter(stores, vm, this.#version.index.blocks);
  }

  async #frame(kind: number, payload: Uint8Array): Promise<void> {
    switch (kind) {
      case KIND.offer:
        return this.#offer.resolve(parseOffer(payload));
      case KIND.reply: {
        const socket = this.#socket;
        if (socket === undefined) throw nonsense('an answer to a QEMU that has said nothing');
        if (socket.writable) await new Promise<void>((resolve) => socket.write(payload, () => resolve()));
        return;
      }
      case KIND.need:
        return this.#again(readNumber(payload));
      case KIND.closed:
        return this.#closed();
      default:
        throw nonsense(`a frame of kind ${kind}`);
    }
  }

  async #again(number: number): Promise<void> {
    const plan = this.#plans.get(number);
    if (plan === undefined) throw nonsense('a wish for a frame that is not on its way');
    this.#sentAgain += 1;
    if (this.#sentAgain >= MOST_DAMAGED) this.#encoder?.distrust();
    // room or not: nothing else is taken until it has come
    await this.#link.send(KIND.again, await pack(printFrame(plan, true, FREE_BYTES), this.#options.zstd), {
      urgent: true,
    });
  }

  /**
   * The destination's QEMU wants no more. Where all of the memory went by, or nobody can tell, QEMU itself says how it
   * ended.
   */
  async #closed(): Promise<void> {
    if (this.#encoder?.digest === undefined && this.#parser.unknown === undefined)
      this.#link.abort(new Error("the destination's QEMU broke off"));
    else this.#link.finish();
  }
}
