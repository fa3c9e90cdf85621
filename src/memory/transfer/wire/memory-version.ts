/**
 * The memory of a VM as it goes by: which page has which content, and one hash over all of it. Both ends compute it from
 * what they send and from what they put together, so that equal hashes prove equal pages in equal places.
 */
import { createHash } from 'node:crypto';
import { HASH_BYTES } from '../pages/page-hash.ts';
import { PageIndex } from '../pages/page-index.ts';
import type { RamBlock } from '../stream/parser.ts';

const RECORD_BYTES = 24;
const SCRATCH_BYTES = 2048 * (RECORD_BYTES + HASH_BYTES);

const BLOCK = 1;
const ZEROS = 2;
const PAGE = 3;
const BYTES = 4;

export class MemoryVersion {
  readonly index = new PageIndex();
  readonly #hash = createHash('sha256');
  readonly #scratch = Buffer.allocUnsafe(SCRATCH_BYTES);
  #used = 0;

  constructor(vm: string, epoch: number) {
    this.#hash.update(`shadowferry memory 1\n${vm}\n${epoch}\n`);
  }

  block(block: RamBlock): void {
    this.index.add(block);
    this.#record(BLOCK, block.name.length, block.length, 0);
    this.#more(Buffer.from(block.name, 'latin1'));
  }

  zeros(block: number, page: number, count: number): void {
    for (let n = 0; n < count; n++) this.index.setZero(block, page + n);
    this.#record(ZEROS, block, page, count);
  }

  /** @param at where in `hashes` the page's hash begins */
  page(block: number, page: number, hashes: Uint8Array, at: number): void {
    this.index.set(block, page, hashes, at);
    this.#record(PAGE, block, page, 1);
    this.#more(hashes.subarray(at, at + HASH_BYTES));
  }

  /** What is neither: headers, commands, the state of devices. */
  bytes(bytes: Uint8Array): void {
    this.#record(BYTES, 0, bytes.length, 0);
    this.#flush();
    this.#hash.update(bytes);
  }

  /** Of all that went by until now. */
  digest(): Buffer {
    this.#flush();
    return this.#hash.copy().digest();
  }

  #record(kind: number, block: number, page: number, count: number): void {
    if (this.#used + RECORD_BYTES + HASH_BYTES > SCRATCH_BYTES) this.#flush();
    const at = this.#used;
    this.#scratch.writeUInt32LE(kind, at);
    this.#scratch.writeUInt32LE(block, at + 4);
    this.#scratch.writeDoubleLE(page, at + 8);
    this.#scratch.writeDoubleLE(count, at + 16);
    this.#used = at + RECORD_BYTES;
  }

  #more(bytes: Uint8Array): void {
    if (this.#used + bytes.length > SCRATCH_BYTES) this.#flush();
    this.#scratch.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #flush(): void {
    this.#hash.update(this.#scratch.subarray(0, this.#used));
    this.#used = 0;
  }
}
