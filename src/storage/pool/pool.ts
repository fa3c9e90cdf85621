/** A pool that is open for changes: every change is on the disk when its call returns. */
import { ShadowferryError } from '../../errors.ts';
import {
  allocated,
  begun,
  deleted,
  grown,
  growthOf,
  held,
  largerPlace,
  settled,
  switched,
  type View,
  volumeOf,
} from './changes.ts';
import { copyExtent, slideStep, stepsOf } from './copy.ts';
import type { PoolDevice } from './device.ts';
import { layOut, type Shape } from './geometry.ts';
import { type Catalog, type Extent, type Geometry, type Holder, type Volume, VolumeName } from './model.ts';
import type { Pace } from './pace.ts';
import { CatalogStore, readCatalogUnlocked, readGeometry } from './store.ts';

export interface MoveOptions {
  pace: Pace;
  signal: AbortSignal;
  /** Told how many bytes of this move are done. */
  progress?: (done: number) => void;
}

export interface GrowOptions extends MoveOptions {
  /** Whether the volume may move to where there is room. */
  relocate: boolean;
}

/** A name as the catalog takes it. @throws INPUT_FIELD */
function checkName(name: string): string {
  if (VolumeName.safeParse(name).success) return name;
  const problem = `"${name}" is no name: letters, digits, ".", "_" and "-", at most 63, beginning with a letter or digit`;
  throw new ShadowferryError('INPUT_FIELD', { field: 'name', problem });
}

/** @throws INPUT_FIELD */
function checkSize(size: number): number {
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw new ShadowferryError('INPUT_FIELD', { field: 'size', problem: `${size} is no number of bytes` });
}

/** Looks at a pool without changing or locking it. @throws POOL_FOREIGN, POOL_NEWER, POOL_CORRUPT */
export async function lookAt(device: PoolDevice): Promise<View> {
  const geometry = await readGeometry(device);
  const { catalog } = await readCatalogUnlocked(device, geometry);
  return { path: device.path, geometry, catalog };
}

/**
 * An open pool. Calls are made one after another; the caller waits for each. A move that a crash cut short is still
 * in the catalog after `open`: `recover` (recover.ts) takes it to its end or back, and must be called before changes.
 */
export class Pool implements AsyncDisposable {
  readonly device: PoolDevice;
  readonly geometry: Geometry;
  readonly #store: CatalogStore;
  #catalog: Catalog;

  private constructor(device: PoolDevice, geometry: Geometry, store: CatalogStore, catalog: Catalog) {
    this.device = device;
    this.geometry = geometry;
    this.#store = store;
    this.#catalog = catalog;
  }

  /** Makes a pool of a device; what was on it is not looked at. @throws INPUT_FIELD, POOL_UNWRITABLE */
  static async create(device: PoolDevice, shape: Shape = {}): Promise<Pool> {
    await CatalogStore.create(device, layOut(device.size, shape));
    return Pool.open(device);
  }

  /** Opens a device that the caller has locked. @throws POOL_FOREIGN, POOL_NEWER, POOL_CORRUPT, POOL_UNWRITABLE */
  static async open(device: PoolDevice): Promise<Pool> {
    const geometry = await readGeometry(device);
    const { store, catalog } = await CatalogStore.open(device, geometry);
    return new Pool(device, geometry, store, catalog);
  }

  get catalog(): Catalog {
    return this.#catalog;
  }

  get view(): View {
    return { path: this.device.path, geometry: this.geometry, catalog: this.#catalog };
  }

  /** @throws VOLUME_UNKNOWN */
  volume(name: string): Volume {
    return volumeOf(this.view, name);
  }

  /** Puts a catalog in the place of the present one. For moves; everything else has a method. @throws as the store */
  async commit(catalog: Catalog): Promise<void> {
    await this.#store.commit(catalog);
    this.#catalog = catalog;
  }

  /** A new volume that reads as zeros. @throws INPUT_FIELD, VOLUME_EXISTS, POOL_NO_ROOM, POOL_CATALOG_FULL */
  async allocate(name: string, size: number): Promise<Volume> {
    const { catalog, fresh } = allocated(this.view, checkName(name), checkSize(size));
    await this.#clear(fresh);
    await this.commit(catalog);
    return this.volume(name);
  }

  /** @throws VOLUME_UNKNOWN, VOLUME_IN_USE */
  async delete(name: string): Promise<void> {
    await this.commit(deleted(this.view, name));
  }

  /**
   * Makes a volume larger; what is new reads as zeros.
   * @throws VOLUME_UNKNOWN, VOLUME_IN_USE, INPUT_FIELD, VOLUME_HEMMED, POOL_NO_ROOM
   */
  async grow(name: string, size: number, options: GrowOptions): Promise<Volume> {
    const growth = growthOf(this.view, name, checkSize(size));
    if (growth.way === 'here') {
      await this.#clear(growth.fresh);
      await this.commit(grown(this.view, growth.volume));
    }
    if (growth.way === 'move') {
      const { volume, free } = growth;
      if (!options.relocate) {
        const params = { volume: name, pool: this.device.path, size: growth.size, free };
        throw new ShadowferryError('VOLUME_HEMMED', params);
      }
      const to = largerPlace(this.view, growth.size);
      await this.#clear({ offset: to.offset + volume.size, size: to.size - volume.size });
      await this.move(volume.id, to, options);
    }
    return this.volume(name);
  }

  /** Says who uses a volume from now on, or that nobody does. @throws VOLUME_UNKNOWN, VOLUME_IN_USE */
  async hold(name: string, holder: Holder | undefined): Promise<Volume> {
    await this.commit(held(this.view, name, holder));
    return this.volume(name);
  }

  /**
   * Moves a volume that nobody uses to a free extent, or to one that overlaps its own. When the signal aborts, a copy
   * is taken back; a slide stops between two steps, and `slide` (or `recover`) goes on with it.
   * @throws VOLUME_IN_USE, POOL_UNWRITABLE, the signal's reason
   */
  async move(id: number, to: Extent, options: MoveOptions): Promise<void> {
    const volume = this.#byId(id);
    if (volume.holder !== undefined) {
      const params = { volume: volume.name, pool: this.device.path, holder: volume.holder.name };
      throw new ShadowferryError('VOLUME_IN_USE', { ...params, what: 'moved behind its back' });
    }
    await this.commit(begun(this.#catalog, volume, to));
    if (this.#catalog.move?.state === 'sliding') return this.slide(options);
    try {
      await copyExtent(this.device, volume, to.offset, options);
    } catch (error) {
      await this.commit(settled(this.#catalog));
      throw error;
    }
    await this.commit(switched(this.#catalog, volume, to));
  }

  /** Goes on with the slide that the catalog names, to its end. @throws POOL_UNWRITABLE, the signal's reason */
  async slide(options: MoveOptions): Promise<void> {
    const { move } = this.#catalog;
    if (move?.state !== 'sliding') return;
    const volume = this.#byId(move.volume);
    for (const step of stepsOf(volume, move)) {
      await slideStep(this.device, step, options);
      if (step.done < volume.size)
        await this.commit({ ...this.#catalog, move: { ...move, done: step.done } });
    }
    await this.commit(switched(this.#catalog, volume, { offset: move.to, size: volume.size }));
  }

  close(): Promise<void> {
    return this.device.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #clear(extent: Extent): Promise<void> {
    await this.device.zero(extent);
    await this.device.sync();
  }

  #byId(id: number): Volume {
    const volume = this.#catalog.volumes.find((each) => each.id === id);
    if (volume === undefined) throw new ShadowferryError('INTERNAL', { why: `there is no volume ${id}` });
    return volume;
  }
}
