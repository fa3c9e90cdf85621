/** What a host remembers of a VM that came: which page the host that it left has kept, by its hash. */
import { nowMs } from '../../../base/clock.ts';
import { readIndex, writeIndex } from './index-file.ts';
import type { PageIndex } from './page-index.ts';
import type { MemoryLabel } from './store-model.ts';
import type { PageStores } from './stores.ts';

/** @returns whether there was room for it */
export function keepArrived(stores: PageStores, label: MemoryLabel, index: PageIndex): boolean {
  let bytes = 0;
  for (const part of index.parts()) bytes += part.length;
  if (!stores.makeRoom(bytes, { vm: label.vm, kind: 'arrived' })) return false;
  const files = stores.prepare(label.vm, 'arrived');
  const hash = writeIndex(files.index, index);
  stores.writeRecord('arrived', { ...label, blocks: [...index.blocks], index: hash, bytes, usedAt: nowMs() });
  return true;
}

/** @throws PAGES_DAMAGED @returns undefined when nothing is remembered of the VM */
export function readArrived(
  stores: PageStores,
  vm: string,
): { label: MemoryLabel; index: PageIndex } | undefined {
  const record = stores.record(vm, 'arrived');
  if (record === undefined) return undefined;
  const { epoch, version, blocks } = record;
  const index = readIndex(stores.files(vm, 'arrived').index, blocks, record.index);
  return { label: { vm, epoch, version }, index };
}
