/**
 * The catalog on the device. Both copies are equal at rest. A change is written to the first copy and made durable,
 * which is the moment when it holds; then to the second. So at every moment at least one copy is whole and not older
 * than what was confirmed, and damage to one copy at rest never brings an older catalog back.
 */
import { z } from 'zod';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { PoolDevice } from './device.ts';
import { SUPERBLOCK_SIZE, SUPERBLOCKS } from './geometry.ts';
import { Catalog, Geometry } from './model.ts';
import { CATALOG, contentLength, HEAD, type Opened, SUPERBLOCK, seal, unseal, VERSION } from './seal.ts';
import { problemOf } from './space.ts';

const Stored = z.object({ pool: z.uuid(), generation: z.int().min(1), catalog: Catalog });

export interface Loaded {
  generation: number;
  catalog: Catalog;
}

function corrupt(pool: string, why: string, cause?: unknown): ShadowferryError {
  return new ShadowferryError('POOL_CORRUPT', { pool, why }, { cause });
}

function newer(pool: string, found: number): ShadowferryError {
  return new ShadowferryError('POOL_NEWER', { pool, found, known: VERSION });
}

/** Reads the superblock, whichever of the two is whole. @throws POOL_FOREIGN, POOL_NEWER, POOL_CORRUPT */
export async function readGeometry(device: PoolDevice): Promise<Geometry> {
  const pool = device.path;
  let damaged = false;
  for (const at of SUPERBLOCKS) {
    if (at + SUPERBLOCK_SIZE > device.size) continue;
    const opened = unseal(SUPERBLOCK, await device.read(at, SUPERBLOCK_SIZE));
    if (opened.state === 'newer') throw newer(pool, opened.version);
    if (opened.state === 'damaged') damaged = true;
    if (opened.state !== 'whole') continue;
    const parsed = Geometry.safeParse(opened.content);
    if (!parsed.success) throw corrupt(pool, z.prettifyError(parsed.error), parsed.error);
    if (parsed.data.size > device.size)
      throw corrupt(pool, `the pool has ${parsed.data.size} bytes, and the device only ${device.size}`);
    return parsed.data;
  }
  if (damaged) throw corrupt(pool, 'both superblocks are damaged');
  throw new ShadowferryError('POOL_FOREIGN', { pool });
}

async function readCopy(device: PoolDevice, geometry: Geometry, at: number): Promise<Opened> {
  const head = await device.read(at, HEAD);
  const length = contentLength(CATALOG, head);
  if (length === undefined) return { state: 'absent' };
  if (HEAD + length > geometry.copySize) return { state: 'damaged' };
  return unseal(CATALOG, await device.read(at, HEAD + length));
}

function parseCopy(pool: string, geometry: Geometry, content: unknown): Loaded {
  const parsed = Stored.safeParse(content);
  if (!parsed.success) throw corrupt(pool, z.prettifyError(parsed.error), parsed.error);
  const { pool: uuid, generation, catalog } = parsed.data;
  if (uuid !== geometry.uuid) throw corrupt(pool, 'a copy belongs to another pool');
  const problem = problemOf(geometry, catalog);
  if (problem !== undefined) throw corrupt(pool, problem);
  return { generation, catalog };
}

/**
 * Reads the newest whole copy of the catalog.
 * @throws POOL_NEWER, POOL_CORRUPT
 */
export async function readCatalog(device: PoolDevice, geometry: Geometry): Promise<Loaded> {
  let newest: Loaded | undefined;
  for (const at of geometry.copies) {
    const opened = await readCopy(device, geometry, at);
    if (opened.state === 'newer') throw newer(device.path, opened.version);
    if (opened.state !== 'whole') continue;
    const copy = parseCopy(device.path, geometry, opened.content);
    if (newest === undefined || copy.generation > newest.generation) newest = copy;
  }
  if (newest === undefined) throw corrupt(device.path, 'no copy of it is whole');
  return newest;
}

/** How often a reader without the lock looks again when a writer is between it and both copies. */
const LOOKS = 5;

/** `readCatalog` while another process may be writing. @throws as `readCatalog` */
export async function readCatalogUnlocked(device: PoolDevice, geometry: Geometry): Promise<Loaded> {
  for (let look = 1; ; look += 1) {
    try {
      return await readCatalog(device, geometry);
    } catch (error) {
      if (look === LOOKS || !(error instanceof ShadowferryError) || error.code !== 'POOL_CORRUPT')
        throw error;
    }
  }
}

/** Writes the catalog of a pool that is open for writing. After a failed write it refuses to write again. */
export class CatalogStore {
  readonly #device: PoolDevice;
  readonly #geometry: Geometry;
  #generation: number;
  #broken: ShadowferryError | undefined;

  private constructor(device: PoolDevice, geometry: Geometry, generation: number) {
    this.#device = device;
    this.#geometry = geometry;
    this.#generation = generation;
  }

  /** Writes an empty catalog, then the superblocks, which make it a pool. @throws POOL_UNWRITABLE */
  static async create(device: PoolDevice, geometry: Geometry): Promise<void> {
    const store = new CatalogStore(device, geometry, 0);
    await store.commit({ nextId: 1, volumes: [], move: null });
    const block = Buffer.alloc(SUPERBLOCK_SIZE);
    seal(SUPERBLOCK, geometry).copy(block);
    await store.#durably(async () => {
      for (const at of SUPERBLOCKS) {
        await device.write(at, block);
        await device.sync();
      }
    });
  }

  /**
   * Reads the catalog and makes it durable: a process that was killed may have left it in the page cache only, and
   * what is done next relies on it. Where the first copy is the one that was read, it is written once more over
   * itself, which harms nothing if it is cut short; where it is not, the second one has been durable all along.
   * @throws POOL_NEWER, POOL_CORRUPT, POOL_UNWRITABLE
   */
  static async open(
    device: PoolDevice,
    geometry: Geometry,
  ): Promise<{ store: CatalogStore; catalog: Catalog }> {
    const { generation, catalog } = await readCatalog(device, geometry);
    const store = new CatalogStore(device, geometry, generation);
    await store.#write(store.#sealed(catalog, generation));
    return { store, catalog };
  }

  /**
   * Puts `catalog` in the place of the one before; it holds when this returns. If it throws POOL_UNWRITABLE, it may
   * or may not hold, and only opening the pool again tells.
   * @throws POOL_CATALOG_FULL, with nothing changed; POOL_UNWRITABLE
   */
  async commit(catalog: Catalog): Promise<void> {
    const problem = problemOf(this.#geometry, catalog);
    if (problem !== undefined)
      throw new ShadowferryError('INTERNAL', { why: `a damaged catalog was to be written: ${problem}` });
    const bytes = this.#sealed(catalog, this.#generation + 1);
    if (bytes.length > this.#geometry.copySize)
      throw new ShadowferryError('POOL_CATALOG_FULL', { pool: this.#device.path });
    this.#generation += 1;
    await this.#write(bytes);
  }

  #sealed(catalog: Catalog, generation: number): Buffer {
    return seal(CATALOG, { pool: this.#geometry.uuid, generation, catalog });
  }

  #write(bytes: Buffer): Promise<void> {
    return this.#durably(async () => {
      for (const at of this.#geometry.copies) {
        await this.#device.write(at, bytes);
        await this.#device.sync();
      }
    });
  }

  async #durably(act: () => Promise<void>): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    try {
      await act();
    } catch (error) {
      const params = { pool: this.#device.path, why: reasonOf(error) };
      this.#broken = new ShadowferryError('POOL_UNWRITABLE', params, { cause: error });
      throw this.#broken;
    }
  }
}
