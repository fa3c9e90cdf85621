/** Gaps ordered by size, then by offset, for best fit: a list of short sorted lists. */

export interface Gap {
  offset: number;
  size: number;
}

const FULL = 512;

function compare(a: Gap, b: Gap): number {
  return a.size - b.size || a.offset - b.offset;
}

/** The first index in `list` whose gap is not before `gap`. */
function place(list: readonly Gap[], gap: Gap): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const there = list[middle];
    if (there !== undefined && compare(there, gap) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class GapIndex {
  #lists: Gap[][];

  constructor(gaps: Iterable<Gap> = []) {
    const sorted = [...gaps].sort(compare);
    this.#lists = [];
    for (let at = 0; at < sorted.length; at += FULL / 2) this.#lists.push(sorted.slice(at, at + FULL / 2));
  }

  /** The first list whose last gap is not before `gap`. */
  #listOf(gap: Gap): number {
    let [low, high] = [0, this.#lists.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const last = this.#lists[middle]?.at(-1);
      if (last !== undefined && compare(last, gap) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  add(gap: Gap): void {
    if (gap.size === 0) return;
    if (this.#lists.length === 0) this.#lists.push([]);
    const which = Math.min(this.#listOf(gap), this.#lists.length - 1);
    const list = this.#lists[which] ?? [];
    list.splice(place(list, gap), 0, gap);
    if (list.length > FULL) this.#lists.splice(which + 1, 0, list.splice(FULL / 2));
  }

  remove(gap: Gap): void {
    if (gap.size === 0) return;
    const which = this.#listOf(gap);
    const list = this.#lists[which] ?? [];
    const at = place(list, gap);
    const there = list[at];
    if (there === undefined || compare(there, gap) !== 0) throw new RangeError(`no gap at ${gap.offset}`);
    list.splice(at, 1);
    if (list.length === 0) this.#lists.splice(which, 1);
  }

  /** The largest gap; undefined when there is none. */
  get largest(): Gap | undefined {
    return this.#lists.at(-1)?.at(-1);
  }

  /** The smallest gap of at least `size`, the lowest of equal ones; undefined when there is none. */
  best(size: number): Gap | undefined {
    const wanted = { size, offset: Number.NEGATIVE_INFINITY };
    const list = this.#lists[this.#listOf(wanted)] ?? [];
    return list[place(list, wanted)];
  }

  /** Gaps of at least `size`, the smallest first. */
  *from(size: number): Generator<Gap> {
    const wanted = { size, offset: Number.NEGATIVE_INFINITY };
    let which = this.#listOf(wanted);
    let at = place(this.#lists[which] ?? [], wanted);
    for (; which < this.#lists.length; which += 1, at = 0) {
      const list = this.#lists[which] ?? [];
      for (; at < list.length; at += 1) {
        const gap = list[at];
        if (gap !== undefined) yield gap;
      }
    }
  }
}
