/** The content of a VM's pages in one sparse file, each where its block and its address say. */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { PAGE_BYTES } from '../stream/format.ts';
import type { RamBlock } from '../stream/parser.ts';

export class ContentFile {
  readonly #file: number;
  /** Where each block begins. */
  readonly #starts: number[] = [];

  /** @param mode `make` begins an empty file, `change` goes on with one that is there, `read` leaves it as it is */
  constructor(path: string, blocks: readonly RamBlock[], mode: 'make' | 'change' | 'read') {
    this.#file = openSync(path, mode === 'make' ? 'w+' : mode === 'change' ? 'r+' : 'r', 0o600);
    let end = 0;
    for (const { length } of blocks) {
      this.#starts.push(end);
      end += length;
    }
    if (mode !== 'read') ftruncateSync(this.#file, end);
  }

  /** Bytes that it takes of its file system. */
  get allocated(): number {
    return fstatSync(this.#file).blocks * 512;
  }

  /** @throws what the system says, such as ENOSPC */
  write(block: number, page: number, content: Uint8Array, from: number): void {
    const at = this.#at(block, page);
    for (let n = 0; n < PAGE_BYTES; ) n += writeSync(this.#file, content, from + n, PAGE_BYTES - n, at + n);
  }

  /** @returns whether the page is there in full */
  read(block: number, page: number, into: Uint8Array, to: number): boolean {
    const at = this.#at(block, page);
    for (let n = 0; n < PAGE_BYTES; ) {
      const read = readSync(this.#file, into, to + n, PAGE_BYTES - n, at + n);
      if (read === 0) return false;
      n += read;
    }
    return true;
  }

  close(): void {
    closeSync(this.#file);
  }

  #at(block: number, page: number): number {
    const start = this.#starts[block];
    if (start === undefined) throw new RangeError(`block ${block} is not in the file`);
    return start + page * PAGE_BYTES;
  }
}
