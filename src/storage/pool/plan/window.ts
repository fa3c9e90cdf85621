/**
 * The fewest bytes to move for one free extent of a wanted size (our own search; the principle, to relocate the part
 * of the contents that does most for the free space per byte, is that of P. A. Franaszek and J. P. Considine,
 * "Reduction of Storage Fragmentation on Direct Access Devices", IBM Journal of Research and Development 23(2), 1979).
 *
 * A *window* is a run of neighbouring volumes with the gaps around them. Its volumes are moved: into gaps outside the
 * window, best fit, until what is left free inside is enough; those that are left are pushed together at one end of
 * the window. It costs the sizes of its volumes. Windows are tried by cost, so that the first that works is the
 * cheapest of all. One that does not lacks a known number of bytes, and is tried again only when it is larger by those.
 * Where the search has taken `EFFORT` steps it ends with the cheapest that was found. One is always found when the free
 * space is large enough and nothing is in use, as the whole pool, pushed together, is a window too.
 */
import { formatBytes } from '../../../base/units.ts';
import { endOf } from '../space.ts';
import { type Gap, GapIndex } from './gap-index.ts';
import { Heap } from './heap.ts';
import { pack } from './packing.ts';
import { gapsOf, type Piece, type Plan, type PlannedMove, planOf, type Space } from './plan.ts';

/** Steps of the search: volumes and gaps that were looked at. */
const EFFORT = 300_000;
/** So many of the cheapest windows are made larger until they work, before the search: it need not go beyond those. */
const PROBES = 16;
/** So many windows of the fallback are looked at, by cost. */
const FALLBACKS = 1000;

/** Volumes from `i` to before `j`, and the gaps from `i` to `j`. */
interface Window {
  i: number;
  j: number;
}

/** Prefix sums: bytes of what is before an index. */
function sums(values: Float64Array): Float64Array {
  const out = new Float64Array(values.length + 1);
  for (let at = 0; at < values.length; at += 1) out[at + 1] = (out[at] ?? 0) + (values[at] ?? 0);
  return out;
}

class Search {
  readonly #space: Space;
  readonly #size: number;
  readonly #volumeSums: Float64Array;
  readonly #gapSums: Float64Array;
  readonly #index: GapIndex;
  /** For each volume the next pinned one, at or after it. */
  readonly #stops: Int32Array;
  work = 0;

  constructor(space: Space, size: number) {
    this.#space = space;
    this.#size = size;
    const { pieces } = space;
    const gaps = gapsOf(space);
    this.#volumeSums = sums(Float64Array.from(pieces, (piece) => piece.size));
    this.#gapSums = sums(gaps);
    this.#index = new GapIndex(
      [...gaps].flatMap((gap, at) => (gap > 0 ? [{ offset: this.#beginning(at), size: gap }] : [])),
    );
    this.#stops = new Int32Array(pieces.length + 1).fill(pieces.length);
    for (let at = pieces.length - 1; at >= 0; at -= 1)
      this.#stops[at] = pieces[at]?.mobility === 'pinned' ? at : (this.#stops[at + 1] ?? pieces.length);
  }

  /** Where gap `at` begins. */
  #beginning(at: number): number {
    const before = this.#space.pieces[at - 1];
    return before === undefined ? this.#space.start : endOf(before);
  }

  cost({ i, j }: Window): number {
    return (this.#volumeSums[j] ?? 0) - (this.#volumeSums[i] ?? 0);
  }

  /** Free bytes inside. */
  #inside({ i, j }: Window): number {
    return (this.#gapSums[j + 1] ?? 0) - (this.#gapSums[i] ?? 0);
  }

  /** The smallest window from volume `i` on, and at least to `j`, that holds what `measure` wants. */
  #reach(i: number, j: number, holds: (window: Window) => boolean): Window | undefined {
    const stop = this.#stops[i] ?? i;
    let [low, high] = [Math.max(i, j), stop];
    if (low > stop || !holds({ i, j: stop })) return undefined;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds({ i, j: middle })) high = middle;
      else low = middle + 1;
    }
    return { i, j: low };
  }

  /** The smallest window from `i` in which the wanted extent would fit if all of its volumes left. */
  reachBySpan(i: number, j: number, span: number): Window | undefined {
    return this.#reach(i, j, (window) => this.#inside(window) + this.cost(window) >= span);
  }

  /** The same if none of them left. */
  reachByGaps(i: number): Window | undefined {
    return this.#reach(i, i, (window) => this.#inside(window) >= this.#size);
  }

  span(window: Window): number {
    return this.#inside(window) + this.cost(window);
  }

  /** Moves that make the extent in a window, or how many bytes it lacks. */
  solve(window: Window): PlannedMove[] | number {
    const { i, j } = window;
    const run = this.#space.pieces.slice(i, j);
    const need = this.#size - this.#inside(window);
    const [from, to] = [this.#beginning(i), this.#end(j)];
    this.work += run.length + 1;
    const isInside = ({ offset }: Gap) => offset >= from && offset < to;
    const packing = need > 0 ? pack(run, this.#index, isInside, need) : undefined;
    this.work += packing?.work ?? 0;
    const missing = need - (packing?.bytes ?? 0);
    if (missing > 0) return missing;
    const placed = packing?.placed ?? [];
    const gone = new Set(placed.map(({ piece }) => piece));
    const pushed = this.#push(
      run.filter((piece) => !gone.has(piece)),
      from,
      to,
    );
    // a larger window may do for volumes that must not go over themselves
    if (pushed === undefined) return 1;
    return [...placed.map(({ piece, to: there }) => moveOf(piece, there)), ...pushed];
  }

  #end(j: number): number {
    return this.#space.pieces[j]?.offset ?? this.#space.end;
  }

  /** Pushes volumes together at the end of the window where fewer bytes move; undefined when neither may be. */
  #push(rest: readonly Piece[], from: number, to: number): PlannedMove[] | undefined {
    const down: PlannedMove[] = [];
    const up: PlannedMove[] = [];
    let at = from;
    for (const piece of rest) {
      if (piece.offset !== at) down.push(moveOf(piece, at));
      at += piece.size;
    }
    at = to;
    for (const piece of rest.toReversed()) {
      at -= piece.size;
      if (piece.offset !== at) up.push(moveOf(piece, at));
    }
    const live = new Set(rest.filter((piece) => piece.mobility === 'live').map(({ id }) => id));
    const allowed = (moves: readonly PlannedMove[]) =>
      moves.every((move) => !live.has(move.id) || Math.abs(move.to - move.from) >= move.size);
    const ways = [down, up].filter(allowed);
    return ways.sort((a, b) => planOf(a, '').bytes - planOf(b, '').bytes)[0];
  }

  /** The cheapest window whose volumes are only pushed together. */
  fallback(): { window: Window; moves: PlannedMove[] } | undefined {
    const windows = this.#space.pieces
      .flatMap((_, i) => this.reachByGaps(i) ?? [])
      .sort((a, b) => this.cost(a) - this.cost(b));
    for (const window of windows.slice(0, FALLBACKS)) {
      const moves = this.solve(window);
      if (typeof moves !== 'number') return { window, moves };
    }
    return undefined;
  }

  get largest(): number {
    return this.#index.largest?.size ?? 0;
  }

  get free(): number {
    return this.#gapSums.at(-1) ?? 0;
  }
}

function moveOf(piece: Piece, to: number): PlannedMove {
  return { id: piece.id, from: piece.offset, to, size: piece.size };
}

/** What was found, or why nothing can be: in words for people. */
export type WindowPlan = { found: true; plan: Plan } | { found: false; reason: string };

/**
 * Plans one free extent of `size` bytes (a multiple of the alignment) with few moved bytes.
 * @param budget most bytes that may be moved
 */
export function planExtent(space: Space, size: number, budget = Number.POSITIVE_INFINITY): WindowPlan {
  const search = new Search(space, size);
  if (search.largest >= size)
    return {
      found: true,
      plan: planOf([], `a free extent of ${formatBytes(search.largest)} is there already`),
    };
  if (search.free < size) return { found: false, reason: `only ${formatBytes(search.free)} are free in all` };
  const fallback = search.fallback();
  let best = fallback?.moves;
  let limit = fallback === undefined ? Number.POSITIVE_INFINITY : search.cost(fallback.window);
  let tried = fallback === undefined ? 0 : 1;
  const heap = new Heap<Window>();
  const push = (window: Window | undefined) => {
    if (window !== undefined && search.cost(window) < limit) heap.push(search.cost(window), window);
  };
  /** The next larger window after one that was tried; none after one that works, which is remembered. */
  const next = (window: Window): Window | undefined => {
    tried += 1;
    const moves = search.solve(window);
    if (typeof moves === 'number')
      return search.reachBySpan(window.i, window.j + 1, search.span(window) + moves);
    if (search.cost(window) < limit) {
      best = moves;
      limit = search.cost(window);
    }
    return undefined;
  };
  for (let i = 0; i < space.pieces.length; i += 1) push(search.reachBySpan(i, i, size));
  for (let probe = 0; probe < PROBES && search.work < EFFORT / 2; probe += 1) {
    let window = heap.pop()?.item;
    while (window !== undefined && search.cost(window) < limit) window = next(window);
  }
  while (heap.least < limit && search.work < EFFORT) {
    const window = heap.pop()?.item;
    if (window !== undefined) push(next(window));
  }
  const ended = heap.least < limit ? 'the best that was found in time' : 'the cheapest';
  if (best === undefined)
    return { found: false, reason: 'volumes that are in use stand between the free extents' };
  const plan = planOf(best, `${ended} of ${tried} windows that were tried`);
  if (plan.bytes > budget)
    return { found: false, reason: `${formatBytes(plan.bytes)} would have to be moved for it` };
  return { found: true, plan };
}
