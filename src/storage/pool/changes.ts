/** Changes of a catalog, each a new catalog from an old one. Pure; the pool writes what comes out. */
import { formatBytes } from '../../base/units.ts';
import { ShadowferryError } from '../../errors.ts';
import { roundUp } from './geometry.ts';
import type { Catalog, Extent, Geometry, Holder, LiveMove, Move, Volume } from './model.ts';
import { bestFit, endOf, freeExtents, roomHint } from './space.ts';

/** A pool as the functions here see it; `path` is for errors. */
export interface View {
  path: string;
  geometry: Geometry;
  catalog: Catalog;
}

/** A catalog, and the extent that it newly takes, which must read as zeros before it holds. */
export interface Taking {
  catalog: Catalog;
  fresh: Extent;
}

/** @throws VOLUME_UNKNOWN */
export function volumeOf({ path, catalog }: View, name: string): Volume {
  const volume = catalog.volumes.find((each) => each.name === name);
  if (volume === undefined)
    throw new ShadowferryError('VOLUME_UNKNOWN', { field: 'volume', pool: path, value: name });
  return volume;
}

/** @throws VOLUME_IN_USE */
function refuseHeld({ path }: View, { name, holder }: Volume, what: string): void {
  if (holder !== undefined)
    throw new ShadowferryError('VOLUME_IN_USE', { volume: name, pool: path, holder: holder.name, what });
}

function replaced(catalog: Catalog, volume: Volume): Catalog {
  const volumes = catalog.volumes.map((each) => (each.id === volume.id ? volume : each));
  return { ...catalog, volumes };
}

/** The free extent that fits best. @throws POOL_NO_ROOM */
function roomFor({ path, geometry, catalog }: View, size: number): Extent {
  const free = freeExtents(geometry, catalog);
  const found = bestFit(free, size);
  if (found !== undefined) return { offset: found.offset, size };
  const largest = formatBytes(Math.max(0, ...free.map((extent) => extent.size)));
  const params = { pool: path, size: formatBytes(size), largest, hint: roomHint(free, size) };
  throw new ShadowferryError('POOL_NO_ROOM', params);
}

/** A new volume of at least `size` bytes, in the free extent that fits best. @throws VOLUME_EXISTS, POOL_NO_ROOM */
export function allocated(view: View, name: string, size: number): Taking {
  const { catalog, geometry, path } = view;
  if (catalog.volumes.some((each) => each.name === name))
    throw new ShadowferryError('VOLUME_EXISTS', { pool: path, volume: name });
  const fresh = roomFor(view, roundUp(size, geometry.alignment));
  const volumes = [...catalog.volumes, { id: catalog.nextId, name, ...fresh }];
  return { catalog: { ...catalog, volumes, nextId: catalog.nextId + 1 }, fresh };
}

/** Without a volume. @throws VOLUME_UNKNOWN, VOLUME_IN_USE */
export function deleted(view: View, name: string): Catalog {
  const volume = volumeOf(view, name);
  refuseHeld(view, volume, 'deleted');
  return { ...view.catalog, volumes: view.catalog.volumes.filter((each) => each.id !== volume.id) };
}

/** How a volume can get `size` bytes: where it is, with the extent that it takes more, or only elsewhere. */
export type Growth =
  | { way: 'none'; volume: Volume }
  | { way: 'here'; volume: Volume; fresh: Extent }
  | { way: 'move'; volume: Volume; size: number; free: number };

/** Looks how a volume can grow. @throws VOLUME_UNKNOWN, VOLUME_IN_USE, INPUT_FIELD when it would shrink */
export function growthOf(view: View, name: string, bytes: number): Growth {
  const volume = volumeOf(view, name);
  refuseHeld(view, volume, 'grown');
  const size = roundUp(bytes, view.geometry.alignment);
  if (size < volume.size) {
    const problem = `volume ${name} has ${volume.size} bytes; a volume cannot shrink`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'size', problem });
  }
  if (size === volume.size) return { way: 'none', volume };
  const end = endOf(volume);
  const behind = freeExtents(view.geometry, view.catalog).find((extent) => extent.offset === end);
  const free = behind?.size ?? 0;
  if (volume.size + free < size) return { way: 'move', volume, size, free };
  return { way: 'here', volume: { ...volume, size }, fresh: { offset: end, size: size - volume.size } };
}

/** With a volume that grew where it is. */
export function grown({ catalog }: View, volume: Volume): Catalog {
  return replaced(catalog, volume);
}

/** With a volume's holder, or without one. @throws VOLUME_UNKNOWN, VOLUME_IN_USE when another holds it */
export function held(view: View, name: string, holder: Holder | undefined): Catalog {
  const { holder: before, ...volume } = volumeOf(view, name);
  if (holder === undefined) return replaced(view.catalog, volume);
  if (before !== undefined && before.name !== holder.name)
    refuseHeld(view, { ...volume, holder: before }, `claimed for ${holder.name}`);
  return replaced(view.catalog, { ...volume, holder });
}

/** Where a larger place for a volume is. @throws POOL_NO_ROOM */
export function largerPlace(view: View, size: number): Extent {
  return roomFor(view, size);
}

/**
 * A move begins: the volume stays where it is, and the new place is taken. One that overlaps the old place is slid.
 * @throws INTERNAL when another move is under way
 */
export function begun(catalog: Catalog, volume: Volume, to: Extent, live?: LiveMove): Catalog {
  if (catalog.move !== null)
    throw new ShadowferryError('INTERNAL', { why: `a move of volume ${catalog.move.volume} is under way` });
  const overlaps = to.offset < endOf(volume) && volume.offset < endOf(to);
  const move: Move = overlaps
    ? { state: 'sliding', volume: volume.id, to: to.offset, done: 0 }
    : { state: 'copying', volume: volume.id, to, ...(live === undefined ? {} : { live }) };
  return { ...catalog, move };
}

/** The move ends, or the volume with a live one turns to its new place and has still to leave the old one. */
export function switched(catalog: Catalog, volume: Volume, to: Extent, leaving?: LiveMove): Catalog {
  const old = { offset: volume.offset, size: volume.size };
  const use = volume.holder?.qemu;
  const holder =
    leaving === undefined || volume.holder === undefined || use === undefined
      ? volume.holder
      : { ...volume.holder, qemu: { ...use, node: leaving.to } };
  const there = { ...volume, ...to, ...(holder === undefined ? {} : { holder }) };
  const move: Move | null =
    leaving === undefined ? null : { state: 'leaving', volume: volume.id, old, live: leaving };
  return { ...replaced(catalog, there), move };
}

/** What `switched` did is taken back, for a QEMU that stayed in the old place. */
export function switchedBack(catalog: Catalog, volume: Volume, old: Extent, live: LiveMove): Catalog {
  const use = volume.holder?.qemu;
  const holder =
    volume.holder === undefined || use === undefined
      ? undefined
      : { ...volume.holder, qemu: { ...use, node: live.from } };
  const { offset, size } = old;
  const back = { ...volume, offset, size, ...(holder === undefined ? {} : { holder }) };
  return { ...replaced(catalog, back), move: null };
}

/** No move is under way any more; the volume is where the catalog says. */
export function settled(catalog: Catalog): Catalog {
  return { ...catalog, move: null };
}
