/**
 * The destination's half of a versioned transfer: puts QEMU's stream together again, from what comes over the link and
 * from the pages that this host keeps, and gives it to the QEMU that waits.
 */
import { createConnection, type Socket } from 'node:net';
import { raceSignal } from '../../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../../errors.ts';
import { keepArrived } from '../pages/arrived.ts';
import { hashPage } from '../pages/page-hash.ts';
import { StoreReader } from '../pages/store-reader.ts';
import type { PageStores } from '../pages/stores.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import { nonsense } from '../wire/bytes.ts';
import { Decoder, type Expanded } from '../wire/decode.ts';
import type { Link, LinkOptions } from '../wire/link.ts';
import { MemoryVersion } from '../wire/memory-version.ts';
import { KIND, numberPayload, type Offer } from './kinds.ts';
import { unpack } from './packing.ts';
import type { DestinationReport } from './report.ts';

export interface DestinationOptions {
  readonly vm: string;
  /** Of the owner that the VM leaves. */
  readonly epoch: number;
  /** Where pages of the VM may be kept, and what came is remembered; neither when it is left out. */
  readonly stores: PageStores | undefined;
  /** Unix socket on which QEMU waits for the stream. */
  readonly qemu: string;
}

export class DestinationRelay {
  readonly #options: DestinationOptions;
  readonly #link: Link;
  readonly #version: MemoryVersion;
  readonly #store: StoreReader | undefined;
  readonly #decoder: Decoder;
  #socket: Promise<Socket> | undefined;
  /** Frames are put together one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #frames = 0;
  #again: ((payload: Uint8Array) => void) | undefined;
  #streamBytes = 0;
  #digest: Buffer | undefined;
  #remembered: DestinationReport['remembered'] = { done: false, why: 'the memory did not come as a whole' };

  constructor(options: DestinationOptions, makeLink: (onFrame: LinkOptions['onFrame']) => Link) {
    this.#options = options;
    this.#version = new MemoryVersion(options.vm, options.epoch);
    const { store, offer } = openStore(options);
    this.#store = store;
    this.#decoder = new Decoder(store);
    this.#link = makeLink((kind, payload) => this.#frame(kind, payload));
    this.#link.send(KIND.offer, Buffer.from(JSON.stringify(offer)), { urgent: true }).catch(() => {});
    void this.#link.closed.then(() => {
      this.#store?.close();
      // a stream that breaks off ends the QEMU that waits for it, or pauses it, as it should
      void this.#socket?.then(
        (socket) => socket.destroySoon(),
        () => {},
      );
    });
  }

  /** Waits for the end of the transfer, good or bad. @throws what ended the link */
  async done(): Promise<DestinationReport> {
    const error = await this.#link.closed;
    const { stores, vm } = this.#options;
    const damaged = this.#store?.damaged ?? 0;
    // what lies beside a damaged page is not to be trusted either
    if (damaged > 0) stores?.drop(vm, ['left']);
    if (error !== undefined) throw error;
    if (this.#digest !== undefined) this.#remember(this.#digest.toString('hex'));
    return {
      streamBytes: this.#streamBytes,
      damaged,
      remembered: this.#remembered,
      ...(this.#digest === undefined ? {} : { version: this.#digest.toString('hex') }),
    };
  }

  /** Ends it, if it has not ended; safe to repeat. */
  close(): void {
    this.#link.abort(new Error('it was given up'));
  }

  #remember(version: string): void {
    const { stores, vm, epoch } = this.#options;
    const { index } = this.#version;
    if (stores === undefined) this.#remembered = { done: false, why: 'not asked for' };
    else if (index.unknown === 0) {
      try {
        const done = keepArrived(stores, { vm, epoch, version }, index);
        this.#remembered = { done, why: done ? 'all of it' : 'there is no room for it' };
      } catch (error) {
        this.#remembered = { done: false, why: reasonOf(error) };
      }
    }
  }

  async #frame(kind: number, payload: Uint8Array): Promise<void> {
    switch (kind) {
      case KIND.memory: {
        const expanded = this.#last.then(() => this.#expand(payload));
        this.#last = expanded;
        return this.#give(await expanded);
      }
      case KIND.again:
        if (this.#again === undefined) throw nonsense('a frame that nobody wished for');
        this.#again(payload);
        return;
      case KIND.end: {
        await this.#last;
        (await this.#socket)?.end();
        return;
      }
      default:
        throw nonsense(`a frame of kind ${kind}`);
    }
  }

  async #expand(payload: Uint8Array): Promise<Buffer> {
    const number = this.#frames++;
    let expanded = this.#decoder.expand(await unpack(payload));
    if (expanded === 'missing') {
      const again = Promise.withResolvers<Uint8Array>();
      this.#again = again.resolve;
      await this.#link.send(KIND.need, numberPayload(number), { urgent: true });
      expanded = this.#decoder.expand(await unpack(await raceSignal(again.promise, this.#link.signal)));
      this.#again = undefined;
      if (expanded === 'missing') throw nonsense('a frame without its content');
    }
    this.#count(expanded);
    return expanded.output;
  }

  /** @throws TRANSFER_PROTOCOL when the memory that was put together is not the one that was sent */
  #count({ output, parts }: Expanded): void {
    const version = this.#version;
    for (const part of parts) {
      switch (part.kind) {
        case 'bytes':
          if (this.#digest === undefined) version.bytes(output.subarray(part.from, part.to));
          break;
        case 'block':
          version.block(part.block);
          break;
        case 'zeros':
          version.zeros(part.block, part.page, part.count);
          break;
        case 'page': {
          const hash = part.hash ?? hashPage(output.subarray(part.at, part.at + PAGE_BYTES));
          version.page(part.block, part.page, hash, 0);
          break;
        }
        case 'end':
          this.#digest = version.digest();
          if (!this.#digest.equals(part.digest))
            throw nonsense('the memory that came is not the one that was sent');
          break;
        default:
          part satisfies never;
      }
    }
  }

  async #give(bytes: Buffer): Promise<void> {
    this.#socket ??= this.#connect();
    const socket = await this.#socket;
    this.#streamBytes += bytes.length;
    if (bytes.length === 0) return;
    // one that QEMU did not want is taken too: that it has closed its end is told by itself
    await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
  }

  async #connect(): Promise<Socket> {
    const socket = createConnection({ path: this.#options.qemu, allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('connect', resolve);
    });
    let closed = false;
    const tellClosed = () => {
      if (closed) return;
      closed = true;
      this.#link.send(KIND.closed, new Uint8Array(), { urgent: true }).catch(() => {});
    };
    socket.on('data', (bytes: Buffer) => {
      socket.pause();
      this.#link.send(KIND.reply, bytes).then(
        () => socket.resume(),
        () => {},
      );
    });
    socket.on('end', tellClosed);
    socket.on('error', tellClosed);
    socket.on('close', tellClosed);
    return socket;
  }
}

function openStore({ stores, vm }: DestinationOptions): { store: StoreReader | undefined; offer: Offer } {
  if (stores === undefined) return { store: undefined, offer: { why: 'the other host keeps no pages' } };
  try {
    const store = new StoreReader(stores, vm);
    return { store, offer: { label: store.label } };
  } catch (error) {
    const why = error instanceof ShadowferryError ? error.message : reasonOf(error);
    return { store: undefined, offer: { why: why.slice(0, 500) } };
  }
}
