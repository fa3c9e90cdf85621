/** Free and taken extents of a catalog. Pure. */
import { formatBytes } from '../../base/units.ts';
import type { Catalog, Extent, Geometry, Move, Volume } from './model.ts';

export const endOf = (extent: Extent) => extent.offset + extent.size;

/** The extent from the lower beginning to the higher end of two. */
function hull(a: Extent, b: Extent): Extent {
  const offset = Math.min(a.offset, b.offset);
  return { offset, size: Math.max(endOf(a), endOf(b)) - offset };
}

/** What a volume and the move that is about it take: more than its own extent while it moves. */
function takenBy(volume: Volume, move: Move | null): Extent[] {
  const own = { offset: volume.offset, size: volume.size };
  if (move?.volume !== volume.id) return [own];
  switch (move.state) {
    case 'copying':
      return [own, move.to];
    case 'sliding':
      return [hull(own, { offset: move.to, size: volume.size })];
    case 'leaving':
      return [own, move.old];
  }
}

/** All extents that are not free, by offset. */
export function taken(catalog: Catalog): Extent[] {
  return catalog.volumes
    .flatMap((volume) => takenBy(volume, catalog.move))
    .sort((a, b) => a.offset - b.offset);
}

/** All free extents, by offset. */
export function freeExtents(geometry: Geometry, catalog: Catalog): Extent[] {
  const free: Extent[] = [];
  let at = geometry.start;
  for (const extent of [...taken(catalog), { offset: geometry.end, size: 0 }]) {
    if (extent.offset > at) free.push({ offset: at, size: extent.offset - at });
    at = endOf(extent);
  }
  return free;
}

/** The smallest free extent in which `size` bytes fit, the lowest of equal ones; undefined when there is none. */
export function bestFit(free: readonly Extent[], size: number): Extent | undefined {
  let best: Extent | undefined;
  for (const extent of free) {
    if (extent.size >= size && (best === undefined || extent.size < best.size)) best = extent;
  }
  return best;
}

/** What is wrong with a catalog; undefined when nothing is: every extent in its place, and none over another. */
export function problemOf(geometry: Geometry, catalog: Catalog): string | undefined {
  const names = new Set<string>();
  const ids = new Set<number>();
  for (const { id, name } of catalog.volumes) {
    if (names.has(name) || ids.has(id) || id >= catalog.nextId) return `volume ${name} is there twice`;
    names.add(name);
    ids.add(id);
  }
  const { move } = catalog;
  if (move !== null && !ids.has(move.volume))
    return `a move is about volume ${move.volume}, which is not there`;
  let before: Extent = { offset: geometry.start, size: 0 };
  for (const extent of taken(catalog)) {
    const { offset, size } = extent;
    if (size === 0 || offset % geometry.alignment !== 0 || size % geometry.alignment !== 0)
      return `the extent at ${offset} is not aligned`;
    if (offset < endOf(before)) return `the extents at ${before.offset} and ${offset} overlap`;
    before = extent;
  }
  return endOf(before) > geometry.end ? `the extent at ${before.offset} goes over the pool's end` : undefined;
}

/** What to do about room that is free but not in one piece. */
export function roomHint(free: readonly Extent[], size: number): string {
  const total = free.reduce((sum, extent) => sum + extent.size, 0);
  return total >= size
    ? `Bring it together with "shadowferry pool reorganize --for ${size}" (${formatBytes(total)} are free), or delete volumes.`
    : 'Delete volumes, or take a larger device.';
}
