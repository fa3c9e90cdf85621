/** Reads the store of a VM that comes back. What it gives was hashed after it was read: damaged pages are never used. */
import { ShadowferryError } from '../../../errors.ts';
import { PAGE_BYTES } from '../stream/format.ts';
import { ContentFile } from './content-file.ts';
import { readIndex } from './index-file.ts';
import { HASH_BYTES, hashPage } from './page-hash.ts';
import type { PageIndex } from './page-index.ts';
import type { MemoryLabel } from './store-model.ts';
import type { PageStores } from './stores.ts';

export class StoreReader {
  readonly label: MemoryLabel;
  readonly index: PageIndex;
  readonly #content: ContentFile;
  #damaged = 0;

  /** @throws MISSING_PAGES when there is no store of the VM, PAGES_DAMAGED when its index is not what was written */
  constructor(stores: PageStores, vm: string) {
    const record = stores.record(vm, 'left');
    if (record === undefined) throw new ShadowferryError('MISSING_PAGES', { vm });
    const { index, pages } = stores.files(vm, 'left');
    const { epoch, version, blocks } = record;
    this.label = { vm, epoch, version };
    this.index = readIndex(index, blocks, record.index);
    this.#content = new ContentFile(pages, blocks, 'read');
    stores.touch(vm, 'left');
  }

  /** Pages that were asked for and were not what they should be. */
  get damaged(): number {
    return this.#damaged;
  }

  /** @returns the page's hash; undefined when the store does not have it as it was, and `into` holds nothing of use */
  read(block: number, page: number, into: Uint8Array, to: number): Uint8Array | undefined {
    const there = this.index.has(block, page) && this.#content.read(block, page, into, to);
    const hash = there ? hashPage(into.subarray(to, to + PAGE_BYTES)) : undefined;
    if (hash !== undefined && hash.length === HASH_BYTES && this.index.is(block, page, hash, 0)) return hash;
    this.#damaged += 1;
    return undefined;
  }

  close(): void {
    this.#content.close();
  }
}
