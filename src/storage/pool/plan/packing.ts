/** Where volumes that must leave go: the largest first, each into the gap that fits best. */
import type { Gap, GapIndex } from './gap-index.ts';
import type { Piece } from './plan.ts';

export interface Placing {
  piece: Piece;
  to: number;
}

export interface Packing {
  placed: readonly Placing[];
  /** Bytes that were placed. */
  bytes: number;
  /** By how much Σg² of the gaps that were used shrinks. */
  squares: number;
  /** Gaps that were looked at. */
  work: number;
}

/**
 * Places volumes until `enough` bytes are placed. The index is the same afterwards as before.
 * @param isOut gaps that are not to be used
 */
export function pack(
  pieces: readonly Piece[],
  gaps: GapIndex,
  isOut: (gap: Gap) => boolean,
  enough = Number.POSITIVE_INFINITY,
): Packing {
  const placed: Placing[] = [];
  const undo: { gap: Gap; rest: Gap }[] = [];
  let [bytes, squares, work] = [0, 0, 0];
  for (const piece of pieces.length > 1 ? pieces.toSorted((a, b) => b.size - a.size) : pieces) {
    if (bytes >= enough) break;
    const { size } = piece;
    for (const gap of gaps.from(size)) {
      work += 1;
      if (isOut(gap)) continue;
      const rest = { offset: gap.offset + size, size: gap.size - size };
      gaps.remove(gap);
      gaps.add(rest);
      undo.push({ gap, rest });
      squares += gap.size ** 2 - rest.size ** 2;
      placed.push({ piece, to: gap.offset });
      bytes += size;
      break;
    }
  }
  for (const { gap, rest } of undo.toReversed()) {
    gaps.remove(rest);
    gaps.add(gap);
  }
  return { placed, bytes, squares, work };
}
