/** Turns frames into the stream again. Nothing that the other end says is trusted: every place and number is checked. */
import { HASH_BYTES } from '../pages/page-hash.ts';
import { FLAG, MAX_BLOCKS, PAGE_BYTES } from '../stream/format.ts';
import { pageHeader, writePageWord } from '../stream/page-header.ts';
import type { RamBlock } from '../stream/parser.ts';
import { ByteReader, ByteWriter, nonsense } from './bytes.ts';
import { MAX_EXPANSION, MAX_OPS, OP, RECENT_PAGES, USUAL_EXPANSION } from './ops.ts';

/** Where pages come from that are named and not sent. */
export interface KnownPages {
  /** @returns the page's hash, when `into` holds its content now; undefined when it cannot be had */
  read(block: number, page: number, into: Uint8Array, to: number): Uint8Array | undefined;
}

/** What the stream's bytes are, for the version of the memory. In the order of the stream. */
export type Part =
  | { kind: 'bytes'; from: number; to: number }
  | { kind: 'block'; block: RamBlock }
  | { kind: 'zeros'; block: number; page: number; count: number }
  /** `hash` is missing where the page must still be hashed. */
  | { kind: 'page'; block: number; page: number; at: number; hash: Uint8Array | undefined }
  | { kind: 'end'; digest: Uint8Array };

export interface Expanded {
  readonly output: Buffer;
  readonly parts: Part[];
}

interface Cursor {
  block: number;
  page: number;
  continued: boolean;
}

export class Decoder {
  readonly #known: KnownPages | undefined;
  readonly #blocks: RamBlock[] = [];
  readonly #recent: (Uint8Array | undefined)[] = new Array(RECENT_PAGES);
  #nextPlace = 0;
  #at: Cursor = { block: -1, page: 0, continued: false };

  constructor(known?: KnownPages) {
    this.#known = known;
  }

  /**
   * @returns `missing`: a page that the frame names cannot be had. Then nothing has changed here, and the frame must be
   * sent again with its content.
   * @throws TRANSFER_PROTOCOL
   */
  expand(payload: Uint8Array): Expanded | 'missing' {
    const run = new Expansion({
      ...{ oldBlocks: this.#blocks, recent: this.#recent, nextPlace: this.#nextPlace },
      ...{ at: { ...this.#at }, known: this.#known },
    });
    const reader = new ByteReader(payload);
    for (let ops = 0; reader.left > 0; ops++) {
      if (ops >= MAX_OPS) throw nonsense('too many operations in a frame');
      if (!run.op(reader)) return 'missing';
    }
    this.#at = run.at;
    this.#blocks.push(...run.newBlocks);
    this.#nextPlace = run.nextPlace;
    const output = run.out.bytes;
    for (const [place, from] of run.kept)
      this.#recent[place] = new Uint8Array(output.subarray(from, from + PAGE_BYTES));
    return { output, parts: run.parts };
  }
}

/** One frame; what it changes counts only when all of it could be read. */
class Expansion {
  readonly out = new ByteWriter(MAX_EXPANSION, USUAL_EXPANSION);
  readonly parts: Part[] = [];
  readonly newBlocks: RamBlock[] = [];
  /** Pages that are kept for a while: by their place, where in the output they begin. */
  readonly kept = new Map<number, number>();
  readonly at: Cursor;
  nextPlace: number;
  readonly #oldBlocks: readonly RamBlock[];
  readonly #recent: readonly (Uint8Array | undefined)[];
  readonly #known: KnownPages | undefined;

  constructor(from: {
    oldBlocks: readonly RamBlock[];
    recent: readonly (Uint8Array | undefined)[];
    nextPlace: number;
    at: Cursor;
    known: KnownPages | undefined;
  }) {
    this.#oldBlocks = from.oldBlocks;
    this.#recent = from.recent;
    this.nextPlace = from.nextPlace;
    this.at = from.at;
    this.#known = from.known;
  }

  /** @returns whether all that it names could be had */
  op(reader: ByteReader): boolean {
    const op = reader.byte();
    switch (op) {
      case OP.bytes: {
        const bytes = reader.take(reader.number());
        const from = this.out.length;
        this.out.copy(bytes);
        this.parts.push({ kind: 'bytes', from, to: from + bytes.length });
        return true;
      }
      case OP.block:
        this.#block(reader);
        return true;
      case OP.seek: {
        const [block, page, continued] = [reader.number(), reader.number(), reader.byte()];
        if (this.#blockAt(block) === undefined || continued > 1) throw nonsense('a place in no block');
        Object.assign(this.at, { block, page, continued: continued === 1 });
        return true;
      }
      case OP.zeros:
        this.#zeros(reader.number());
        return true;
      case OP.pages:
      case OP.plain:
        for (let left = reader.number(); left > 0; left--) {
          const from = this.#header();
          this.out.copy(reader.take(PAGE_BYTES));
          this.#page(from, undefined);
          if (op === OP.pages) this.#keep(from);
        }
        return true;
      case OP.same:
        for (let left = reader.number(); left > 0; left--) if (!this.#same()) return false;
        return true;
      case OP.recent: {
        const place = reader.number(RECENT_PAGES);
        for (let left = reader.number(RECENT_PAGES), n = place; left > 0; left--, n++) this.#again(n);
        return true;
      }
      case OP.end:
        this.parts.push({ kind: 'end', digest: Uint8Array.from(reader.take(HASH_BYTES)) });
        return true;
      default:
        throw nonsense(`an operation ${op}`);
    }
  }

  #block(reader: ByteReader): void {
    const name = Buffer.from(reader.take(reader.byte())).toString('latin1');
    const block = { name, length: reader.number() };
    if (name === '' || block.length === 0 || block.length % PAGE_BYTES !== 0)
      throw nonsense('a block of no pages');
    if (this.#oldBlocks.length + this.newBlocks.length >= MAX_BLOCKS) throw nonsense('too many blocks');
    this.newBlocks.push(block);
    this.parts.push({ kind: 'block', block });
  }

  #zeros(count: number): void {
    if (count === 0) return;
    const { block, page } = this.at;
    this.#inside(count);
    if (!this.at.continued) {
      this.out.copy(pageHeader('zero', this.#blockAt(block)?.name, page * PAGE_BYTES));
      this.out.byte(0);
    }
    const first = this.at.continued ? 0 : 1;
    const at = this.out.room((count - first) * 9);
    const { bytes } = this.out;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let n = first; n < count; n++) {
      const to = at + (n - first) * 9;
      writePageWord(view, to, FLAG.zero | FLAG.continued, (page + n) * PAGE_BYTES);
      view.setUint8(to + 8, 0);
    }
    this.parts.push({ kind: 'zeros', block, page, count });
    this.at.page += count;
    this.at.continued = true;
  }

  /** Writes the header of the next page. @returns where its content begins */
  #header(): number {
    const { block, page, continued } = this.at;
    this.#inside(1);
    this.out.copy(pageHeader('page', continued ? undefined : this.#blockAt(block)?.name, page * PAGE_BYTES));
    return this.out.length;
  }

  #page(at: number, hash: Uint8Array | undefined): void {
    const { block, page } = this.at;
    this.parts.push({ kind: 'page', block, page, at, hash });
    this.at.page += 1;
    this.at.continued = true;
  }

  #same(): boolean {
    const { block, page } = this.at;
    const from = this.#header();
    this.out.room(PAGE_BYTES);
    const hash = this.#known?.read(block, page, this.out.bytes, from);
    if (hash === undefined) return false;
    this.#page(from, hash);
    return true;
  }

  #again(place: number): void {
    // what this very frame has brought is not among the others yet
    const kept = this.kept.get(place);
    const before = kept === undefined ? this.#recent[place] : undefined;
    if (kept === undefined && before === undefined) throw nonsense('a page that was never sent');
    const from = this.#header();
    const to = this.out.room(PAGE_BYTES);
    if (kept !== undefined) this.out.bytes.copyWithin(to, kept, kept + PAGE_BYTES);
    else if (before !== undefined) this.out.bytes.set(before, to);
    this.#page(from, undefined);
  }

  #keep(from: number): void {
    this.kept.set(this.nextPlace, from);
    this.nextPlace = (this.nextPlace + 1) % RECENT_PAGES;
  }

  #inside(count: number): void {
    const { block, page } = this.at;
    const known = this.#blockAt(block);
    if (known === undefined || (page + count) * PAGE_BYTES > known.length)
      throw nonsense('a page outside the blocks');
  }

  #blockAt(block: number): RamBlock | undefined {
    return this.#oldBlocks[block] ?? this.newBlocks[block - this.#oldBlocks.length];
  }
}
