/** Where labels go so that none overlaps another or is crossed by another's line. Pure geometry in pixels. */

/** A label asked for: a vertical line at `x` and a text of `width`. */
export interface Flag {
  x: number;
  width: number;
}

/** A flag placed: the text starts at `left` in `row`, counted from 0 at the bottom, nearest to the plot. */
export interface PlacedFlag {
  left: number;
  row: number;
}

export interface Bounds {
  left: number;
  right: number;
}

/** Free space between a line and its text, and between texts. */
const PAD = 4;

type Side = 'left' | 'right';

function extent(flag: Flag, side: Side): Bounds {
  return side === 'right'
    ? { left: flag.x, right: flag.x + PAD + flag.width + PAD }
    : { left: flag.x - PAD - flag.width - PAD, right: flag.x };
}

/** Texts that face each other would each be crossed by the other's line whatever their rows. */
function faces(right: Flag, left: Flag): boolean {
  return extent(right, 'right').right >= left.x && extent(left, 'left').left <= right.x;
}

/** More flags than this are placed without searching for the best sides. */
const MOST_SEARCHED = 40;

/** Texts stand to the right of their lines where there is room, to the left at the right edge. */
function firstSides(flags: readonly Flag[], bounds: Bounds): Side[] {
  return flags.map((flag) => (extent(flag, 'right').right - PAD <= bounds.right ? 'right' : 'left'));
}

/** Turns texts to the left that would face a left one; undefined when a left text leaves the bounds. */
function withoutFacing(flags: readonly Flag[], wanted: readonly Side[], bounds: Bounds): Side[] | undefined {
  const sides = [...wanted];
  for (let i = flags.length - 1; i >= 0; i -= 1) {
    const flag = flags[i];
    if (!flag || sides[i] === 'right') continue;
    if (extent(flag, 'left').left + PAD < bounds.left) return undefined;
    for (let j = 0; j < i; j += 1) {
      const other = flags[j];
      if (other && sides[j] === 'right' && faces(other, flag)) sides[j] = 'left';
    }
  }
  return sides;
}

/** Rows for given sides, or undefined when a circle of flags would each have to stand above the next. */
function rowsFor(flags: readonly Flag[], sides: readonly Side[]): number[] | undefined {
  const extents = flags.map((flag, i) => extent(flag, sides[i] ?? 'right'));

  /** Whether flag `high` must stand above flag `low`. */
  const above = (high: number, low: number): boolean => {
    const text = extents[high];
    const lowText = extents[low];
    const highX = flags[high]?.x;
    const lowX = flags[low]?.x;
    if (!text || !lowText || highX === undefined || lowX === undefined || high === low) return false;
    // At one place the lines are one line, and only the order is left to decide.
    if (highX === lowX) return sides[high] === 'right' ? high < low : high > low;
    if (lowX >= text.left && lowX <= text.right) return true;
    const overlap = text.left < lowText.right && lowText.left < text.right;
    const crossedBack = highX >= lowText.left && highX <= lowText.right;
    return overlap && !crossedBack && high < low;
  };

  const rows = new Map<number, number>();
  const open = new Set<number>();
  const rowOf = (index: number): number | undefined => {
    const known = rows.get(index);
    if (known !== undefined) return known;
    if (open.has(index)) return undefined;
    open.add(index);
    let row = 0;
    for (let low = 0; low < flags.length; low += 1) {
      if (!above(index, low)) continue;
      const below = rowOf(low);
      if (below === undefined) return undefined;
      row = Math.max(row, below + 1);
    }
    open.delete(index);
    rows.set(index, row);
    return row;
  };
  const result: number[] = [];
  for (const index of flags.keys()) {
    const row = rowOf(index);
    if (row === undefined) return undefined;
    result.push(row);
  }
  return result;
}

/** First and one-past-last index of each run of flags whose right-hand texts reach the next flag. */
function clusters(flags: readonly Flag[]): [number, number][] {
  const found: [number, number][] = [];
  let start = 0;
  let reach = Number.NEGATIVE_INFINITY;
  for (const [index, flag] of flags.entries()) {
    if (index > 0 && flag.x > reach) {
      found.push([start, index]);
      start = index;
    }
    reach = Math.max(reach, extent(flag, 'right').right);
  }
  if (flags.length > 0) found.push([start, flags.length]);
  return found.filter(([from, to]) => to - from > 2);
}

const heightOf = (rows: readonly number[] | undefined): number =>
  rows ? rows.reduce((most, row) => Math.max(most, row + 1), 0) : Number.POSITIVE_INFINITY;

/**
 * Places flags, given in order of `x`, in few rows. The rule: a line runs from its text down to the plot, so a flag
 * whose line would cross another's text stands in a lower row than that text. The first flags of a crowd may have
 * their texts to the left, which makes it two stairs instead of one high one.
 * Returns undefined when they do not fit the bounds or need more than `maxRows` rows.
 */
export function placeFlags(
  flags: readonly Flag[],
  bounds: Bounds,
  maxRows: number,
): PlacedFlag[] | undefined {
  let sides = withoutFacing(flags, firstSides(flags, bounds), bounds);
  let rows = sides && rowsFor(flags, sides);
  for (const [from, to] of flags.length <= MOST_SEARCHED ? clusters(flags) : []) {
    const base = sides ?? firstSides(flags, bounds);
    for (let turned = 1; turned < to - from; turned += 1) {
      const wanted = base.map((side, i) => (i >= from && i < from + turned ? 'left' : side));
      const candidate = withoutFacing(flags, wanted, bounds);
      const candidateRows = candidate && rowsFor(flags, candidate);
      if (heightOf(candidateRows) >= heightOf(rows)) continue;
      sides = candidate;
      rows = candidateRows;
    }
  }
  if (!sides || !rows || heightOf(rows) > maxRows) return undefined;
  const chosen = { sides, rows };
  return flags.map((flag, index) => ({
    row: chosen.rows[index] ?? 0,
    left: chosen.sides[index] === 'right' ? flag.x + PAD : flag.x - PAD - flag.width,
  }));
}

/**
 * Centres texts over their `x` in one row, moved aside as little as needed so that they keep `gap` between them
 * and stay inside the bounds. Returns the left edges, or undefined when the row is too short for all of them.
 */
export function placeInRow(flags: readonly Flag[], bounds: Bounds, gap: number): number[] | undefined {
  const total = flags.reduce((sum, flag) => sum + flag.width, 0) + gap * Math.max(0, flags.length - 1);
  if (total > bounds.right - bounds.left) return undefined;
  // Neighbours that collide move as one block, centred where its members would like to be on average.
  interface Block {
    left: number;
    width: number;
    /** Sum over members of (wanted left edge − offset in the block). */
    wish: number;
    members: number;
  }
  const clamp = (left: number, width: number) =>
    Math.min(Math.max(left, bounds.left), Math.max(bounds.left, bounds.right - width));
  const blocks: Block[] = [];
  for (const flag of flags) {
    const wish = flag.x - flag.width / 2;
    let block: Block = { left: clamp(wish, flag.width), width: flag.width, wish, members: 1 };
    for (let last = blocks.at(-1); last && last.left + last.width + gap > block.left; last = blocks.at(-1)) {
      blocks.pop();
      const offset = last.width + gap;
      const width = offset + block.width;
      const merged = last.wish + block.wish - offset * block.members;
      const members = last.members + block.members;
      block = { left: clamp(merged / members, width), width, wish: merged, members };
    }
    blocks.push(block);
  }
  const lefts: number[] = [];
  let index = 0;
  for (const block of blocks) {
    let left = block.left;
    for (let member = 0; member < block.members; member += 1) {
      lefts.push(left);
      left += (flags[index]?.width ?? 0) + gap;
      index += 1;
    }
  }
  return lefts;
}
