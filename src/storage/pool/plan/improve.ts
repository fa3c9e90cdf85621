/**
 * The best use of a number of bytes that may be moved (our own estimator, after the principle of Franaszek and
 * Considine 1979, see window.ts).
 *
 * The free space is worth Σg² over the sizes g of its extents: divided by the free space it is the size of the extent
 * in which a random free byte lies. An action is worth what it adds, per byte that it moves. Actions are, for each
 * *block* (volumes without a gap between them, between gaps a and b):
 * - push it down over gap a, which joins a and b: worth 2ab;
 * - put all of it into other gaps, best fit: a, b and the block become one extent, the gaps that are used shrink;
 * - put only its first or last volume into another gap, which makes a or b larger.
 * The best action is taken, its surroundings are valued again, and so on until the bytes are used up or nothing is
 * worth anything. What is further away is valued again when its turn comes.
 */
import { formatBytes } from '../../../base/units.ts';
import type { Gap } from './gap-index.ts';
import { Heap } from './heap.ts';
import { type Node, Order } from './order.ts';
import { pack } from './packing.ts';
import { type Plan, planOf, type Space } from './plan.ts';

/** A block of more volumes counts by its first ones only: to empty it is never the best use of few bytes. */
const LONGEST_BLOCK = 24;

interface Action {
  /** By how much Σg² grows. */
  gain: number;
  bytes: number;
  /** In order; a place is the beginning of a gap at that time. */
  moves: readonly { node: Node; to: number }[];
}

/** Volumes from `first` on without a gap between them; `whole`: the block ends with the last of them. */
function blockFrom(order: Order, first: Node): { nodes: Node[]; whole: boolean } {
  const nodes = [first];
  for (let node = first.after; node !== undefined; node = node.after) {
    if (order.gapBefore(node).size > 0) break;
    if (nodes.length === LONGEST_BLOCK) return { nodes, whole: false };
    nodes.push(node);
  }
  return { nodes, whole: true };
}

/** The first volume of the block that `node` is in, as far as blocks are looked at. */
function firstOf(order: Order, node: Node): Node {
  let first = node;
  for (let steps = 0; steps < LONGEST_BLOCK && first.before !== undefined; steps += 1) {
    if (order.gapBefore(first).size > 0) break;
    first = first.before;
  }
  return first;
}

const same = (a: Gap, b: Gap) => a.offset === b.offset;

/** Pushes a block down over the gap before it. */
function pushed(nodes: readonly Node[], before: Gap, after: Gap): Action | undefined {
  const gain = 2 * before.size * after.size;
  const stays = nodes.some(({ piece }) => piece.mobility === 'live' && before.size < piece.size);
  if (gain === 0 || stays) return undefined;
  let to = before.offset;
  const moves = nodes.map((node) => {
    const move = { node, to };
    to += node.piece.size;
    return move;
  });
  return { gain, bytes: to - before.offset, moves };
}

/** Puts volumes into other gaps; `room` is what their places add to the gaps beside them. */
function emptied(
  order: Order,
  nodes: readonly Node[],
  outside: readonly Gap[],
  freed: (bytes: number) => number,
): Action | undefined {
  const byId = new Map(nodes.map((node) => [node.piece.id, node]));
  const pieces = nodes.map(({ piece }) => piece);
  const packing = pack(pieces, order.gaps, (gap) => outside.some((each) => same(each, gap)));
  if (packing.placed.length < nodes.length) return undefined;
  const moves = packing.placed.flatMap(({ piece, to }) => {
    const node = byId.get(piece.id);
    return node === undefined ? [] : [{ node, to }];
  });
  return { gain: freed(packing.bytes) - packing.squares, bytes: packing.bytes, moves };
}

/** All actions on the block that begins with `first`. */
function actionsOn(order: Order, first: Node): Action[] {
  const { nodes, whole } = blockFrom(order, first);
  const last = nodes.at(-1) ?? first;
  const [a, b] = [order.gapBefore(first), order.gapAfter(last)];
  const beside = [a, b];
  const can = ({ piece }: Node) => piece.mobility !== 'pinned';
  const found: (Action | undefined)[] = [];
  if (whole && nodes.every(can)) {
    found.push(
      pushed(nodes, a, b),
      emptied(order, nodes, beside, (bytes) => (a.size + b.size + bytes) ** 2 - a.size ** 2 - b.size ** 2),
    );
  }
  if (nodes.length > 1 && a.size > 0 && can(first))
    found.push(emptied(order, [first], [a], (bytes) => (a.size + bytes) ** 2 - a.size ** 2));
  if (nodes.length > 1 && whole && b.size > 0 && can(last))
    found.push(emptied(order, [last], [b], (bytes) => (b.size + bytes) ** 2 - b.size ** 2));
  return found
    .filter((action) => action !== undefined && action.gain > 0)
    .filter((action) => action !== undefined);
}

/** Plans the best use of `budget` bytes. */
export function planImprovement(space: Space, budget: number): Plan {
  const order = new Order(space);
  const heap = new Heap<Node>();
  let left = budget;
  const best = (node: Node): Action | undefined => {
    let found: Action | undefined;
    for (const action of actionsOn(order, node)) {
      if (action.bytes > left) continue;
      if (found === undefined || action.gain / action.bytes > found.gain / found.bytes) found = action;
    }
    return found;
  };
  const worth = (action: Action) => action.gain / action.bytes;
  const value = (node: Node) => {
    const action = best(node);
    if (action !== undefined) heap.push(-worth(action), node);
  };
  for (let node = order.first; node !== undefined; node = node.after)
    if (firstOf(order, node) === node) value(node);
  for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
    const action = best(top.item);
    if (action === undefined) continue;
    // what is worth less than when it was valued waits until it is the best again
    if (-worth(action) > heap.least) {
      heap.push(-worth(action), top.item);
      continue;
    }
    left -= action.bytes;
    const around = new Set<Node>();
    for (const { node, to } of action.moves) for (const near of order.move(node, to)) around.add(near);
    const firsts = new Set<Node>();
    for (const node of around) {
      firsts.add(firstOf(order, node));
      if (node.after !== undefined) firsts.add(firstOf(order, node.after));
    }
    for (const node of firsts) value(node);
  }
  const plan = planOf(order.moves, '');
  const reason =
    plan.moves.length === 0
      ? `nothing that moves at most ${formatBytes(budget)} makes the free extents larger`
      : `what makes the free extents largest per byte moved, up to ${formatBytes(budget)}`;
  return { ...plan, reason };
}
