/**
 * Pools as use leaves them: requests arrive, volumes live and go, each request is placed best fit.
 *
 * Sizes are log-normal (median 8 GiB, sigma 1.3; 1 MiB at least, a quarter of the pool at most, whole MiB), arrivals are
 * a Poisson process, lifetimes are exponential for seven of ten volumes and Pareto (shape 1.5) for three, with the same
 * mean: most are gone soon, some stay for ever. The arrival rate is such that the wanted share of the pool would be
 * full if nothing were refused. A request that finds no extent is refused and not tried again.
 */
import { GapIndex } from '../../src/storage/pool/plan/gap-index.ts';
import { Heap } from '../../src/storage/pool/plan/heap.ts';
import type { Piece, Space } from '../../src/storage/pool/plan/plan.ts';

const MIB = 1024 * 1024;
const MEDIAN = 8 * 1024 * MIB;
const SIGMA = 1.3;
const PARETO_SHAPE = 1.5;
const LONG_LIVED = 0.3;

export interface TraceOptions {
  random: () => number;
  /** Share of the pool that is to be full, 0 to 1. */
  fill: number;
  /** Bytes of the pool. */
  size: number;
  /** Allocations and deletions together, before the pool is looked at. */
  operations: number;
}

/** The share of the requests whose size is asked for. */
const SHARE = 0.9;

export interface Traced {
  space: Space;
  /** The size that 90 % of the requests need, refused ones too. */
  size: number;
  refused: number;
  operations: number;
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A volume's size, bytes. */
function sizeOf(random: () => number, pool: number): number {
  const size = MEDIAN * Math.exp(SIGMA * normal(random));
  return Math.max(1, Math.round(Math.min(size, pool / 4) / MIB)) * MIB;
}

/** A lifetime with mean 1. */
function lifetime(random: () => number): number {
  if (random() >= LONG_LIVED) return -Math.log(1 - random());
  const least = (PARETO_SHAPE - 1) / PARETO_SHAPE;
  return least * (1 - random()) ** (-1 / PARETO_SHAPE);
}

/** Volumes and gaps of a pool in which every gap is found from both of its ends. */
class Placed {
  readonly #gaps: GapIndex;
  readonly #byStart = new Map<number, number>();
  readonly #byEnd = new Map<number, number>();
  readonly volumes = new Map<number, number>();
  free: number;

  constructor(size: number) {
    this.#gaps = new GapIndex([{ offset: 0, size }]);
    this.free = size;
    this.#byStart.set(0, size);
    this.#byEnd.set(size, size);
  }

  #take(offset: number, size: number): void {
    this.#gaps.remove({ offset, size });
    this.#byStart.delete(offset);
    this.#byEnd.delete(offset + size);
  }

  #give(offset: number, size: number): void {
    if (size === 0) return;
    this.#gaps.add({ offset, size });
    this.#byStart.set(offset, size);
    this.#byEnd.set(offset + size, size);
  }

  get largest(): number {
    return this.#gaps.largest?.size ?? 0;
  }

  /** Places a volume best fit; undefined when nothing is large enough. */
  allocate(size: number): number | undefined {
    const gap = this.#gaps.best(size);
    if (gap === undefined) return undefined;
    this.#take(gap.offset, gap.size);
    this.#give(gap.offset + size, gap.size - size);
    this.volumes.set(gap.offset, size);
    this.free -= size;
    return gap.offset;
  }

  release(offset: number): void {
    const size = this.volumes.get(offset) ?? 0;
    this.volumes.delete(offset);
    this.free += size;
    const before = this.#byEnd.get(offset) ?? 0;
    const after = this.#byStart.get(offset + size) ?? 0;
    if (before > 0) this.#take(offset - before, before);
    if (after > 0) this.#take(offset + size, after);
    this.#give(offset - before, before + size + after);
  }
}

/**
 * Plays a trace up to the first moment after `operations` when the size that 90 % of the requests need is free, but not
 * in one piece; undefined when there is none in as many operations more. The same `random` gives the same pool.
 */
export function trace({ random, fill, size: poolSize, operations }: TraceOptions): Traced | undefined {
  const placed = new Placed(poolSize);
  const departures = new Heap<number>();
  const requests: number[] = [];
  const mean = MEDIAN * Math.exp(SIGMA ** 2 / 2);
  const rate = (fill * poolSize) / mean;
  let [refused, arrival, needed] = [0, 0, 0];
  for (let operation = 0; operation < 2 * operations; operation += 1) {
    if (departures.least <= arrival) {
      const gone = departures.pop();
      if (gone !== undefined) placed.release(gone.item);
    } else {
      const wanted = sizeOf(random, poolSize);
      if (needed === 0) requests.push(wanted);
      const offset = placed.allocate(wanted);
      if (offset === undefined) refused += 1;
      else departures.push(arrival + lifetime(random), offset);
      arrival -= Math.log(1 - random()) / rate;
    }
    if (operation < operations) continue;
    needed ||= requests.sort((a, b) => a - b)[Math.floor(requests.length * SHARE)] ?? 0;
    if (placed.largest < needed && placed.free >= needed) {
      const pieces = [...placed.volumes]
        .sort(([a], [b]) => a - b)
        .map(([offset, size], index): Piece => ({ id: index + 1, offset, size, mobility: 'free' }));
      return { space: { start: 0, end: poolSize, pieces }, size: needed, refused, operations: operation };
    }
  }
  return undefined;
}
