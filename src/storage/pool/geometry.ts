/** Where a pool's parts lie: two superblocks, two copies of the catalog, then the volumes. Pure. */
import { randomUUID } from 'node:crypto';
import { ShadowferryError } from '../../errors.ts';
import type { Geometry } from './model.ts';

/** The two superblocks, so far apart that one bad spot does not hit both. */
export const SUPERBLOCKS = [0, 64 * 1024] as const;
export const SUPERBLOCK_SIZE = 4096;
const COPIES_AT = 128 * 1024;
/** More than the record of a volume can take in the catalog, with the longest names. */
const RECORD = 640;

export const DEFAULT_ALIGNMENT = 1024 * 1024;
export const DEFAULT_VOLUMES = 4096;

export interface Shape {
  /** Bytes; a power of two from 4096. */
  alignment?: number;
  /** How many volumes there may be. */
  volumes?: number;
}

/** `value` or the next multiple of `unit` above it. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Divides `size` bytes of a device. @throws INPUT_FIELD, also when it is too small for one volume */
export function layOut(size: number, shape: Shape = {}): Geometry {
  const { alignment = DEFAULT_ALIGNMENT, volumes = DEFAULT_VOLUMES } = shape;
  if (alignment < 4096 || !Number.isInteger(Math.log2(alignment))) {
    const problem = `${alignment} is no power of two from 4096`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'alignment', problem });
  }
  const copySize = roundUp(volumes * RECORD + 8192, 64 * 1024);
  const start = roundUp(COPIES_AT + 2 * copySize, alignment);
  const end = Math.floor(size / alignment) * alignment;
  if (end - start < alignment) {
    const least = start + alignment;
    const problem = `${size} bytes are too few: with this alignment and room for ${volumes} volumes at least ${least} are needed`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'size', problem });
  }
  return {
    uuid: randomUUID(),
    size,
    alignment,
    copies: [COPIES_AT, COPIES_AT + copySize],
    copySize,
    start,
    end,
  };
}
