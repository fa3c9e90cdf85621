/** Which content each page of a VM's memory has: a hash for each page that is not zero. */
import { z } from 'zod';
import { PAGE_BYTES } from '../stream/format.ts';
import type { RamBlock } from '../stream/parser.ts';
import { HASH_BYTES } from './page-hash.ts';

/** Pages whose hashes are kept together; nothing is kept where all pages are zero. */
const GROUP = 512;

const UNKNOWN = 0;
const ZERO = 1;
const DATA = 2;

/** Blocks as they stand in files and messages. */
export const RamBlocks = z
  .array(
    z.object({
      name: z.string().min(1).max(255),
      length: z.number().int().positive().multipleOf(PAGE_BYTES).max(Number.MAX_SAFE_INTEGER),
    }),
  )
  .max(4096);

class BlockIndex {
  readonly kinds: Uint8Array;
  readonly groups: (Uint8Array | undefined)[];

  constructor({ length }: RamBlock) {
    this.kinds = new Uint8Array(length / PAGE_BYTES);
    this.groups = new Array(Math.ceil(this.kinds.length / GROUP));
  }

  /** Where the hash of a page stands; the group is made when there is none. */
  group(page: number): Uint8Array {
    const number = Math.floor(page / GROUP);
    const found = this.groups[number];
    if (found !== undefined) return found;
    const size = Math.min(GROUP, this.kinds.length - number * GROUP);
    const made = new Uint8Array(size * HASH_BYTES);
    this.groups[number] = made;
    return made;
  }
}

export class PageIndex {
  readonly #blocks: RamBlock[] = [];
  readonly #indexes: BlockIndex[] = [];
  #unknown = 0;
  #data = 0;

  constructor(blocks: readonly RamBlock[] = []) {
    for (const block of blocks) this.add(block);
  }

  get blocks(): readonly RamBlock[] {
    return this.#blocks;
  }

  /** Pages of which nothing is known. */
  get unknown(): number {
    return this.#unknown;
  }

  /** Pages that are not zero. */
  get dataPages(): number {
    return this.#data;
  }

  add({ name, length }: RamBlock): void {
    this.#blocks.push({ name, length });
    this.#indexes.push(new BlockIndex({ name, length }));
    this.#unknown += length / PAGE_BYTES;
  }

  sameBlocks(blocks: readonly RamBlock[]): boolean {
    return (
      blocks.length === this.#blocks.length &&
      blocks.every(
        ({ name, length }, n) => name === this.#blocks[n]?.name && length === this.#blocks[n]?.length,
      )
    );
  }

  /** @param at where in `hashes` the page's hash begins */
  set(block: number, page: number, hashes: Uint8Array, at: number): void {
    const index = this.#become(block, page, DATA);
    const to = (page % GROUP) * HASH_BYTES;
    const group = index.group(page);
    for (let n = 0; n < HASH_BYTES; n++) group[to + n] = hashes[at + n] ?? 0;
  }

  setZero(block: number, page: number): void {
    this.#become(block, page, ZERO);
  }

  /** What is known of the page does not hold any more. */
  forget(block: number, page: number): void {
    this.#become(block, page, UNKNOWN);
  }

  isZero(block: number, page: number): boolean {
    return this.#indexes[block]?.kinds[page] === ZERO;
  }

  has(block: number, page: number): boolean {
    return this.#indexes[block]?.kinds[page] === DATA;
  }

  /** Whether the page is known to have the content of a hash. */
  is(block: number, page: number, hashes: Uint8Array, at: number): boolean {
    const index = this.#indexes[block];
    if (index?.kinds[page] !== DATA) return false;
    const group = index.group(page);
    const from = (page % GROUP) * HASH_BYTES;
    for (let n = 0; n < HASH_BYTES; n++) if (group[from + n] !== hashes[at + n]) return false;
    return true;
  }

  /** Its parts in the order of a file: for each block the kinds of its pages, then the hashes of its groups. */
  *parts(): Generator<Uint8Array> {
    for (const { kinds, groups } of this.#indexes) {
      yield kinds;
      for (const [n, group] of groups.entries())
        if (group !== undefined && groupHasData(kinds, n)) yield group;
    }
  }

  /**
   * The index whose parts `read` gives, each filled in full.
   * @throws RangeError when a page has no kind that there is
   */
  static from(blocks: readonly RamBlock[], read: (into: Uint8Array) => void): PageIndex {
    const made = new PageIndex(blocks);
    made.#unknown = 0;
    for (const index of made.#indexes) {
      read(index.kinds);
      for (const kind of index.kinds) {
        if (kind > DATA) throw new RangeError(`a page of kind ${kind}`);
        if (kind === UNKNOWN) made.#unknown += 1;
        if (kind === DATA) made.#data += 1;
      }
      for (let n = 0; n < index.groups.length; n++)
        if (groupHasData(index.kinds, n)) read(index.group(n * GROUP));
    }
    return made;
  }

  #become(block: number, page: number, kind: number): BlockIndex {
    const index = this.#indexes[block];
    const before = index?.kinds[page];
    if (index === undefined || before === undefined)
      throw new RangeError(`page ${page} of block ${block} is in no block`);
    if (before === UNKNOWN) this.#unknown -= 1;
    if (before === DATA) this.#data -= 1;
    if (kind === UNKNOWN) this.#unknown += 1;
    if (kind === DATA) this.#data += 1;
    index.kinds[page] = kind;
    return index;
  }
}

function groupHasData(kinds: Uint8Array, group: number): boolean {
  const end = Math.min(kinds.length, (group + 1) * GROUP);
  for (let page = group * GROUP; page < end; page++) if (kinds[page] === DATA) return true;
  return false;
}
