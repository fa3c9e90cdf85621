/**
 * Reads QEMU's migration stream as it goes by, in chunks of any size, and tells its pages from everything else.
 *
 * It never has to be right for the stream to be right: whatever it makes of the bytes, what it tells names each of them
 * once and in order. So a form that it does not know costs only what the transfer could have saved: from there on all is
 * told as it is, and why is kept (`unknown`).
 */
import {
  COMMAND_PACKAGED,
  FLAG,
  flagName,
  MAGIC,
  MAX_BLOCKS,
  MAX_RECORD,
  PAGE_BYTES,
  RAM_VERSION,
  SECTION,
  VERSION,
} from './format.ts';

/** A block of guest memory, as the stream declares it. */
export interface RamBlock {
  readonly name: string;
  /** In bytes. */
  readonly length: number;
}

/** Who is told. Chunks are the caller's own, or short ones that stay as they are. */
export interface StreamSink {
  /** Bytes that go on as they are. */
  bytes(chunk: Uint8Array, from: number, to: number): void;
  /** A block was declared; the bytes that do so are told by `bytes`. The first has index 0. */
  block(index: number, block: RamBlock): void;
  /** A page whose content is the 4096 bytes at `from`. `continued`: its header does not name the block. */
  page(block: number, address: number, continued: boolean, chunk: Uint8Array, from: number): void;
  /** A page of zeroes. */
  zero(block: number, address: number, continued: boolean): void;
  /** All of the memory was told; what follows are bytes. */
  end(): void;
}

type State = 'header' | 'section' | 'setup' | 'pages' | 'footer' | 'tail' | 'raw';

/** Names of blocks are bytes to us; a TextDecoder's "latin1" is windows-1252, and would not give them back. */
const text = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');

export class RamStreamParser {
  readonly #sink: StreamSink;
  readonly #blocks: RamBlock[] = [];
  readonly #byName = new Map<string, number>();
  #state: State = 'header';
  #unknown: string | undefined;
  /** Bytes that go on without a look. */
  #skip = 0;
  #ramSection: number | undefined;
  /** Of the section that is being read. */
  #last = false;
  #setupLeft = -1;
  #block = -1;
  /** The last footer of the memory was just read. */
  #lastFooter = false;
  /** Up to where the chunk that is being read has been told. */
  #told = 0;
  /** A record whose rest has not come yet. */
  #carry = new Uint8Array(0);

  constructor(sink: StreamSink) {
    this.#sink = sink;
  }

  /** Why the rest of the stream is told as it is; undefined as long as it is understood. */
  get unknown(): string | undefined {
    return this.#unknown;
  }

  /** Whether the whole of the guest's memory has gone by, and was understood. */
  get ended(): boolean {
    return this.#state === 'tail';
  }

  get blocks(): readonly RamBlock[] {
    return this.#blocks;
  }

  /** Takes the next bytes. What is told of them may stay in the parser until the record is whole: fewer than 4.4 kB. */
  push(chunk: Uint8Array): void {
    let from = 0;
    while (this.#carry.length > 0 && from < chunk.length) {
      const before = this.#carry.length;
      const joined = new Uint8Array(Math.min(before + chunk.length - from, before + MAX_RECORD));
      joined.set(this.#carry);
      joined.set(chunk.subarray(from, from + joined.length - before), before);
      this.#carry = new Uint8Array(0);
      // only the record that began before the chunk is read here, the rest where it lies
      const used = this.#run(joined, before);
      if (used === 0) {
        this.#carry = joined;
        return;
      }
      from += used - before;
    }
    if (from >= chunk.length) return;
    const used = this.#run(from === 0 ? chunk : chunk.subarray(from));
    if (from + used < chunk.length) this.#carry = chunk.slice(from + used);
  }

  /** The stream has ended, or stands still: what is left of it goes on as it is. */
  end(): void {
    const rest = this.#carry;
    this.#carry = new Uint8Array(0);
    if (rest.length === 0) return;
    this.#giveUp('it ended within a record');
    this.#sink.bytes(rest, 0, rest.length);
  }

  /**
   * Reads whole records, until `enough` bytes are read or the rest is no whole record.
   * @returns bytes that were read
   */
  #run(chunk: Uint8Array, enough = chunk.length): number {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    this.#told = 0;
    while (at < enough) {
      let read: number;
      if (this.#state === 'raw' || this.#state === 'tail') read = chunk.length - at;
      else if (this.#skip > 0) {
        read = Math.min(this.#skip, chunk.length - at);
        this.#skip -= read;
      } else if (this.#state === 'pages') read = this.#page(view, chunk, at);
      else read = this.#record(view, chunk, at);
      if (read === 0) break;
      at += read;
      if (this.#lastFooter) this.#tellEnd(chunk, at);
    }
    if (at > this.#told) this.#sink.bytes(chunk, this.#told, at);
    return at;
  }

  #tellEnd(chunk: Uint8Array, at: number): void {
    this.#lastFooter = false;
    this.#sink.bytes(chunk, this.#told, at);
    this.#told = at;
    this.#sink.end();
  }

  /** @returns bytes of the record; 0 when it is not whole yet */
  #page(view: DataView, chunk: Uint8Array, at: number): number {
    const left = chunk.length - at;
    if (left < 8) return 0;
    const high = view.getUint32(at);
    const low = view.getUint32(at + 4);
    const flags = low & (PAGE_BYTES - 1);
    const kind = flags & ~FLAG.continued;
    if (flags === FLAG.eos) {
      this.#state = 'footer';
      return 8;
    }
    if (kind !== FLAG.page && kind !== FLAG.zero) return this.#giveUp(`memory as ${flagName(flags)}`, 8);
    const continued = (flags & FLAG.continued) !== 0;
    let body = at + 8;
    let block = this.#block;
    if (!continued) {
      if (left < 9) return 0;
      const length = chunk[body] ?? 0;
      if (left < 9 + length) return 0;
      const name = text(chunk.subarray(body + 1, body + 1 + length));
      body += 1 + length;
      block = this.#byName.get(name) ?? -1;
    }
    const address = high * 2 ** 32 + (low - flags);
    const known = this.#blocks[block];
    if (known === undefined || address + PAGE_BYTES > known.length)
      return this.#giveUp('a page outside the blocks of memory', body - at);
    const size = kind === FLAG.zero ? 1 : PAGE_BYTES;
    if (chunk.length - body < size) return 0;
    if (kind === FLAG.zero && chunk[body] !== 0) return this.#giveUp('a page of equal bytes', body + 1 - at);
    this.#block = block;
    if (at > this.#told) this.#sink.bytes(chunk, this.#told, at);
    if (kind === FLAG.zero) this.#sink.zero(block, address, continued);
    else this.#sink.page(block, address, continued, chunk, body);
    this.#told = body + size;
    return this.#told - at;
  }

  /** @returns bytes of the record; 0 when it is not whole yet */
  #record(view: DataView, chunk: Uint8Array, at: number): number {
    const left = chunk.length - at;
    switch (this.#state) {
      case 'header':
        if (left < 8) return 0;
        if (view.getUint32(at) !== MAGIC || view.getUint32(at + 4) !== VERSION)
          return this.#giveUp('it does not begin as a stream of QEMU', 8);
        this.#state = 'section';
        return 8;
      case 'section':
        return this.#section(view, chunk, at, left);
      case 'setup':
        return this.#setup(view, chunk, at, left);
      case 'footer':
        if (left < 5) return 0;
        if (chunk[at] !== SECTION.footer || view.getUint32(at + 1) !== this.#ramSection)
          return this.#giveUp('a section without a footer', 1);
        this.#state = this.#last ? 'tail' : 'section';
        this.#lastFooter = this.#last;
        return 5;
      case 'pages':
      case 'tail':
      case 'raw':
        return this.#giveUp('the parser is in the wrong place', 1);
      default:
        return this.#state satisfies never;
    }
  }

  #section(view: DataView, chunk: Uint8Array, at: number, left: number): number {
    const type = chunk[at];
    switch (type) {
      case SECTION.start: {
        if (left < 6 || left < 14 + (chunk[at + 5] ?? 0)) return 0;
        const length = chunk[at + 5] ?? 0;
        const name = text(chunk.subarray(at + 6, at + 6 + length));
        const version = view.getUint32(at + 6 + length + 4);
        if (name !== 'ram' || version !== RAM_VERSION || this.#ramSection !== undefined)
          return this.#giveUp(`the section "${name}" of version ${version} before the end of the memory`, 1);
        this.#ramSection = view.getUint32(at + 1);
        this.#state = 'setup';
        return 14 + length;
      }
      case SECTION.part:
      case SECTION.end: {
        if (left < 5) return 0;
        const id = view.getUint32(at + 1);
        if (id !== this.#ramSection) return this.#giveUp(`a part of the unknown section ${id}`, 5);
        this.#last = type === SECTION.end;
        this.#state = 'pages';
        return 5;
      }
      case SECTION.command: {
        if (left < 5) return 0;
        const size = view.getUint16(at + 3);
        if (view.getUint16(at + 1) !== COMMAND_PACKAGED) {
          this.#skip = size;
          return 5;
        }
        if (size !== 4) return this.#giveUp('a package of unknown form', 5);
        if (left < 9) return 0;
        this.#skip = view.getUint32(at + 5);
        return 9;
      }
      case SECTION.configuration:
        if (left < 5) return 0;
        this.#skip = view.getUint32(at + 1);
        return 5;
      case SECTION.full:
        return this.#giveUp("a device's state before the end of the memory", 1);
      case SECTION.subsection:
        // x-ignore-shared, mapped-ram, a UUID: the first two change what the memory looks like
        return this.#giveUp('a configuration of its own', 1);
      default:
        return this.#giveUp(`the type of section ${type}`, 1);
    }
  }

  #setup(view: DataView, chunk: Uint8Array, at: number, left: number): number {
    if (this.#setupLeft === 0) return this.#endOfSetup(view, at, left);
    if (this.#setupLeft < 0) {
      if (left < 8) return 0;
      const low = view.getUint32(at + 4);
      const flags = low & (PAGE_BYTES - 1);
      if (flags !== FLAG.memSize) return this.#giveUp('a list of blocks of unknown form', 8);
      this.#setupLeft = view.getUint32(at) * 2 ** 32 + (low - flags);
      return 8;
    }
    const size = chunk[at] ?? 0;
    if (left < 9 + size) return 0;
    const name = text(chunk.subarray(at + 1, at + 1 + size));
    const length = view.getUint32(at + 1 + size) * 2 ** 32 + view.getUint32(at + 5 + size);
    const fits = length > 0 && length <= this.#setupLeft && length % PAGE_BYTES === 0;
    if (size === 0 || !fits || this.#byName.has(name) || this.#blocks.length >= MAX_BLOCKS)
      return this.#giveUp('a block of memory of unknown form', 1);
    this.#setupLeft -= length;
    const index = this.#blocks.push({ name, length }) - 1;
    this.#byName.set(name, index);
    this.#sink.block(index, { name, length });
    return 9 + size;
  }

  #endOfSetup(view: DataView, at: number, left: number): number {
    if (left < 8) return 0;
    if (view.getUint32(at) !== 0 || view.getUint32(at + 4) !== FLAG.eos)
      return this.#giveUp('a list of blocks of unknown form', 8);
    this.#state = 'footer';
    return 8;
  }

  /** @returns `read`, what was looked at and goes on as it is */
  #giveUp(why: string, read = 1): number {
    this.#unknown ??= why;
    this.#state = 'raw';
    return read;
  }
}
