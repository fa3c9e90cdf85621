/** A device in memory that loses power: what was not synced is lost, kept, or torn, in any order, sector by sector. */
import type { PoolDevice } from './device.ts';
import type { Extent } from './model.ts';
import { Pace } from './pace.ts';
import type { LiveRecovery } from './recover.ts';

const SECTOR = 512;

export class PowerLoss extends Error {}

export class SimulatedDevice implements PoolDevice {
  readonly path = 'simulated';
  readonly size: number;
  /** Writes and syncs so far. */
  operations = 0;
  /** Power fails before this operation; a write that it hits may be torn. */
  failsAt = Number.POSITIVE_INFINITY;
  #disk: Buffer;
  #seen: Buffer;
  #unsynced: { offset: number; data: Buffer }[] = [];
  /** The write that the end of the power or of the process hit. */
  #cut: { offset: number; data: Buffer } | undefined;

  constructor(disk: number | Buffer) {
    this.#disk = typeof disk === 'number' ? Buffer.alloc(disk) : Buffer.from(disk);
    this.#seen = Buffer.from(this.#disk);
    this.size = this.#disk.length;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    if (offset + length > this.size) throw new RangeError(`read at ${offset}`);
    return Buffer.from(this.#seen.subarray(offset, offset + length));
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    if (offset + data.length > this.size) throw new RangeError(`write at ${offset}`);
    const write = { offset, data: Buffer.from(data) };
    try {
      this.#count();
    } catch (error) {
      this.#cut = write;
      throw error;
    }
    this.#unsynced.push(write);
    this.#seen.set(data, offset);
  }

  async sync(): Promise<void> {
    this.#count();
    for (const { offset, data } of this.#unsynced) this.#disk.set(data, offset);
    this.#unsynced = [];
  }

  zero({ offset, size }: Extent): Promise<void> {
    return this.write(offset, Buffer.alloc(size));
  }

  async close(): Promise<void> {}

  #count(): void {
    if (this.operations >= this.failsAt) throw new PowerLoss();
    this.operations += 1;
  }

  /**
   * The disk after the power came back: each sector of what was not synced is there or not, as `keeps` says, in any
   * order of the writes.
   */
  afterPowerLoss(keeps: () => boolean, order: (writes: number) => number[]): Buffer {
    const disk = Buffer.from(this.#disk);
    const writes = this.#cut === undefined ? this.#unsynced : [...this.#unsynced, this.#cut];
    for (const index of order(writes.length)) {
      const write = writes[index];
      if (write === undefined) continue;
      for (let at = 0; at < write.data.length; at += SECTOR)
        if (keeps()) disk.set(write.data.subarray(at, at + SECTOR), write.offset + at);
    }
    return disk;
  }

  /** What the next process sees when only this one was killed: everything, durable or not. */
  afterKill(): SimulatedDevice {
    const next = new SimulatedDevice(this.#disk);
    next.#seen = Buffer.from(this.#seen);
    next.#unsynced = [...this.#unsynced];
    return next;
  }

  /** All that this process has written, as if it were durable. */
  contents(): Buffer {
    return Buffer.from(this.#seen);
  }
}

/** No QEMU is there to be asked. */
export const NO_QEMU: LiveRecovery = {
  takeBack: async () => 'gone',
  takeForward: async () => 'gone',
};

/** As fast as it goes, and never interrupted. */
export const AT_ONCE = () => ({ pace: new Pace(), signal: new AbortController().signal });

/** Numbers from 0 to 1 that are the same in every run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
