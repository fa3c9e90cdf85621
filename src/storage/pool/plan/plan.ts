/** What the planners take and give. */
import { endOf } from '../space.ts';

/**
 * A volume as a planner sees it. `free`: it can go anywhere, also over itself, step by step. `live`: a guest writes to
 * it, so that it is mirrored, and the new place must not overlap the old one. `pinned`: it stays.
 */
export interface Piece {
  id: number;
  offset: number;
  size: number;
  mobility: 'free' | 'live' | 'pinned';
}

/** The room for volumes, and the volumes by offset. */
export interface Space {
  start: number;
  end: number;
  pieces: readonly Piece[];
}

export interface PlannedMove {
  id: number;
  from: number;
  to: number;
  size: number;
}

/** Moves in the order in which they are made; each goes to what is free when its turn has come. */
export interface Plan {
  moves: readonly PlannedMove[];
  /** Sum of the moves' sizes. */
  bytes: number;
  reason: string;
}

/** The same moves with what they come to. */
export function planOf(moves: readonly PlannedMove[], reason: string): Plan {
  return { moves, bytes: moves.reduce((sum, move) => sum + move.size, 0), reason };
}

/** Sizes of the gaps: before each piece, and after the last one; some may be 0. */
export function gapsOf({ start, end, pieces }: Space): Float64Array {
  const gaps = new Float64Array(pieces.length + 1);
  let at = start;
  pieces.forEach((piece, index) => {
    gaps[index] = piece.offset - at;
    at = endOf(piece);
  });
  gaps[pieces.length] = end - at;
  return gaps;
}

/**
 * The space after a plan.
 * @throws RangeError when a move goes out of the space, over another volume, over itself though it is live, or is
 * about a volume that is not there or pinned
 */
export function afterPlan(space: Space, moves: readonly PlannedMove[]): Space {
  const pieces = new Map(space.pieces.map((piece) => [piece.id, piece]));
  for (const { id, from, to, size } of moves) {
    const piece = pieces.get(id);
    if (piece?.offset !== from || piece.size !== size || piece.mobility === 'pinned')
      throw new RangeError(`volume ${id} cannot be moved from ${from}`);
    if (to < space.start || to + size > space.end) throw new RangeError(`${to} is outside`);
    const overlaps = (other: Piece) => to < endOf(other) && other.offset < to + size;
    for (const other of pieces.values()) {
      if (overlaps(other) && (other !== piece || piece.mobility === 'live'))
        throw new RangeError(`volume ${id} would come over ${other.id}`);
    }
    pieces.set(id, { ...piece, offset: to });
  }
  return { ...space, pieces: [...pieces.values()].sort((a, b) => a.offset - b.offset) };
}
