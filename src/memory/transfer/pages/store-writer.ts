/** Writes the pages of a VM that leaves into its store, as they go by. */
import { rmSync } from 'node:fs';
import { nowMs } from '../../../base/clock.ts';
import { reasonOf } from '../../../errors.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import type { RamBlock } from '../stream/parser.ts';
import { ContentFile } from './content-file.ts';
import { readIndex, writeIndex } from './index-file.ts';
import { PageIndex } from './page-index.ts';
import type { PageStores, StoreFiles } from './stores.ts';

/** Between two looks at what the store takes, pages. */
const LOOK_PAGES = 1024;

export class StoreWriter {
  readonly #stores: PageStores;
  readonly #vm: string;
  readonly #files: StoreFiles;
  /** What the file holds already: pages that are as they were when the VM left the last time are not written again. */
  readonly #before: PageIndex;
  readonly #content: ContentFile;
  #untilLook = LOOK_PAGES;
  #dropped: string | undefined;

  constructor(stores: PageStores, vm: string, blocks: readonly RamBlock[]) {
    this.#stores = stores;
    this.#vm = vm;
    const record = stores.record(vm, 'left');
    const before = record === undefined ? undefined : this.#indexBefore(record);
    this.#files = stores.prepare(vm, 'left');
    const goesOn = before?.sameBlocks(blocks) === true;
    this.#before = goesOn ? before : new PageIndex(blocks);
    this.#content = new ContentFile(this.#files.pages, blocks, goesOn ? 'change' : 'make');
    this.#look();
  }

  /** Why nothing is kept after all; undefined as long as it is. */
  get dropped(): string | undefined {
    return this.#dropped;
  }

  /** @param at where in `hashes` the page's hash begins */
  write(
    block: number,
    page: number,
    hashes: Uint8Array,
    at: number,
    content: Uint8Array,
    from: number,
  ): void {
    if (this.#dropped !== undefined || this.#before.is(block, page, hashes, at)) return;
    try {
      this.#content.write(block, page, content, from);
      this.#before.set(block, page, hashes, at);
    } catch (error) {
      this.drop(reasonOf(error));
      return;
    }
    this.#untilLook -= 1;
    if (this.#untilLook <= 0) this.#look();
  }

  /**
   * All of the VM's memory went by: from here on the store counts.
   * @param index of the whole memory, as it went by last
   */
  finish(index: PageIndex, { epoch, version }: { epoch: number; version: string }): void {
    if (this.#dropped !== undefined) return;
    this.#look();
    if (this.#dropped !== undefined) return;
    try {
      const hash = writeIndex(this.#files.index, index);
      const bytes = this.#content.allocated;
      const { blocks } = index;
      this.#stores.writeRecord('left', {
        ...{ vm: this.#vm, epoch, version, blocks: [...blocks], index: hash, bytes },
        usedAt: nowMs(),
      });
      this.#content.close();
    } catch (error) {
      this.drop(reasonOf(error));
    }
  }

  /** Nothing is kept: the VM did not leave, or its pages are not all known. */
  drop(why: string): void {
    if (this.#dropped !== undefined) return;
    this.#dropped = why;
    this.#content.close();
    rmSync(this.#files.directory, { recursive: true, force: true });
  }

  #indexBefore(record: NonNullable<ReturnType<PageStores['record']>>): PageIndex | undefined {
    try {
      return readIndex(this.#stores.files(this.#vm, 'left').index, record.blocks, record.index);
    } catch {
      return undefined; // the store begins anew
    }
  }

  #look(): void {
    this.#untilLook = LOOK_PAGES;
    const ahead = this.#content.allocated + LOOK_PAGES * PAGE_BYTES;
    if (!this.#stores.makeRoom(ahead, { vm: this.#vm, kind: 'left' }))
      this.drop(`its pages take more than ${this.#stores.capBytes} bytes, which is all that stores may take`);
  }
}
