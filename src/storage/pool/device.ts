import type { Extent } from './model.ts';

/** What a pool lies on. Writes may be lost or reordered by a crash until `sync` has returned. */
export interface PoolDevice {
  /** How errors name it. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Reads exactly `length` bytes. */
  read(offset: number, length: number): Promise<Buffer>;
  /** Writes all of `data`. */
  write(offset: number, data: Uint8Array): Promise<void>;
  /** All that was written is on the disk when this returns. */
  sync(): Promise<void>;
  /** Makes an extent read as zeros (after the next `sync`, for good). */
  zero(extent: Extent): Promise<void>;
  close(): Promise<void>;
}
