/** What is said of a pool's free space. Pure. */
import type { Extent } from './model.ts';

export interface Figures {
  /** Bytes that are free, and in how many extents. */
  free: number;
  extents: number;
  /** Bytes of the largest free extent. */
  largest: number;
  /**
   * From 0 (all free space is one extent) towards 1: the share of the free space that is *not* in the extent in which
   * a random free byte lies, on average: 1 - Σg² / (Σg)² over the sizes g of the free extents.
   */
  fragmentation: number;
}

/** The figures of free extents, which are in no particular order. */
export function figuresOf(free: Iterable<Pick<Extent, 'size'>>): Figures {
  let [total, extents, largest, squares] = [0, 0, 0, 0];
  for (const { size } of free) {
    total += size;
    extents += 1;
    squares += size ** 2;
    if (size > largest) largest = size;
  }
  const fragmentation = total === 0 ? 0 : Math.max(0, 1 - squares / total ** 2);
  return { free: total, extents, largest, fragmentation };
}

/** One row of the histogram: free extents of at least `from` bytes and less than twice that. */
export interface Row {
  from: number;
  extents: number;
  bytes: number;
}

/** Free extents by size, in powers of two from `alignment`; rows between the first and the last are all there. */
export function histogramOf(free: readonly Extent[], alignment: number): Row[] {
  const rows = new Map<number, Row>();
  for (const { size } of free) {
    const step = Math.floor(Math.log2(size / alignment));
    const row = rows.get(step) ?? { from: alignment * 2 ** step, extents: 0, bytes: 0 };
    rows.set(step, { ...row, extents: row.extents + 1, bytes: row.bytes + size });
  }
  const steps = [...rows.keys()];
  const first = Math.min(...steps);
  return Array.from({ length: steps.length === 0 ? 0 : Math.max(...steps) - first + 1 }, (_, index) => {
    const step = first + index;
    return rows.get(step) ?? { from: alignment * 2 ** step, extents: 0, bytes: 0 };
  });
}
