/** Other ways to make a free extent: each moves volumes until the extent is there, or its way is at its end. */
import { Order } from '../../src/storage/pool/plan/order.ts';
import { gapsOf, planOf, type Space } from '../../src/storage/pool/plan/plan.ts';

export interface Outcome {
  bytes: number;
  moves: number;
  /** Whether the extent is there. */
  made: boolean;
}

/** Left-justified compaction: every volume is pushed down to the one before it. To its end, or until it is enough. */
export function leftJustified(space: Space, size: number, until: 'end' | 'enough'): Outcome {
  const gaps = gapsOf(space);
  let [at, bytes, moves, free] = [space.start, 0, 0, 0];
  for (const [index, piece] of space.pieces.entries()) {
    free += gaps[index] ?? 0;
    if (until === 'enough' && free >= size) return { bytes, moves, made: true };
    if (piece.offset !== at) {
      bytes += piece.size;
      moves += 1;
    }
    at += piece.size;
  }
  return { bytes, moves, made: space.end - at >= size };
}

function largest(order: Order): number {
  return order.gaps.largest?.size ?? 0;
}

function outcome(order: Order, size: number): Outcome {
  const { bytes, moves } = planOf(order.moves, '');
  return { bytes, moves: moves.length, made: largest(order) >= size };
}

/** First-fit compaction: the highest volume that fits in a gap below it goes into the lowest such gap. */
export function firstFit(space: Space, size: number): Outcome {
  const order = new Order(space);
  const nodes = order.nodes();
  for (const node of nodes.toReversed()) {
    if (largest(order) >= size) break;
    for (let at = order.first; at !== undefined && at !== node; at = at.after) {
      const gap = order.gapBefore(at);
      if (gap.size < node.piece.size) continue;
      order.move(node, gap.offset);
      break;
    }
  }
  return outcome(order, size);
}

/** Random choice: any volume goes into any gap in which it fits, within the budget. */
export function randomChoice(space: Space, size: number, budget: number, random: () => number): Outcome {
  const order = new Order(space);
  const nodes = order.nodes();
  let [bytes, misses] = [0, 0];
  while (largest(order) < size && misses < nodes.length) {
    const node = nodes[Math.floor(random() * nodes.length)];
    if (node === undefined) break;
    const beside = [order.gapBefore(node).offset, order.gapAfter(node).offset];
    const gaps = [...order.gaps.from(node.piece.size)].filter((gap) => !beside.includes(gap.offset));
    const gap = gaps[Math.floor(random() * gaps.length)];
    if (gap === undefined || bytes + node.piece.size > budget) {
      misses += 1;
      continue;
    }
    misses = 0;
    bytes += node.piece.size;
    order.move(node, gap.offset);
  }
  return outcome(order, size);
}
