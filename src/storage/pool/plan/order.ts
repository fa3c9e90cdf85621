/** Volumes in the order of their offsets while a planner moves them: a doubly linked list over the space's pieces. */
import { type Gap, GapIndex } from './gap-index.ts';
import type { Piece, PlannedMove, Space } from './plan.ts';

/** A volume in the list, at its present place. */
export interface Node {
  readonly piece: Piece;
  offset: number;
  before: Node | undefined;
  after: Node | undefined;
}

export class Order {
  readonly #space: Space;
  readonly #byEnd = new Map<number, Node>();
  readonly gaps = new GapIndex();
  readonly moves: PlannedMove[] = [];
  first: Node | undefined;

  constructor(space: Space) {
    this.#space = space;
    let before: Node | undefined;
    for (const piece of space.pieces) {
      const node: Node = { piece, offset: piece.offset, before, after: undefined };
      if (before === undefined) this.first = node;
      else before.after = node;
      this.#byEnd.set(node.offset + piece.size, node);
      before = node;
    }
    for (let node = this.first; node !== undefined; node = node.after) this.gaps.add(this.gapBefore(node));
    if (before !== undefined) this.gaps.add(this.gapAfter(before));
  }

  /** All volumes, by their present offsets. */
  nodes(): Node[] {
    const nodes: Node[] = [];
    for (let node = this.first; node !== undefined; node = node.after) nodes.push(node);
    return nodes;
  }

  gapBefore(node: Node): Gap {
    const offset =
      node.before === undefined ? this.#space.start : node.before.offset + node.before.piece.size;
    return { offset, size: node.offset - offset };
  }

  gapAfter(node: Node): Gap {
    if (node.after !== undefined) return this.gapBefore(node.after);
    const offset = node.offset + node.piece.size;
    return { offset, size: this.#space.end - offset };
  }

  /**
   * Moves a volume to the beginning of a gap; of the gap before it that is over itself.
   * @returns the volumes beside the old place and the new one
   */
  move(node: Node, to: number): Node[] {
    const { piece, before, after, offset: from } = node;
    this.gaps.remove(this.gapBefore(node));
    this.gaps.remove(this.gapAfter(node));
    this.#byEnd.delete(from + piece.size);
    if (before === undefined) this.first = after;
    else before.after = after;
    if (after !== undefined) after.before = before;
    const start = before === undefined ? this.#space.start : before.offset + before.piece.size;
    this.gaps.add({ offset: start, size: (after?.offset ?? this.#space.end) - start });

    const hole = this.#holeAt(to);
    this.gaps.remove({ offset: hole.offset, size: hole.size });
    node.offset = to;
    node.before = hole.before;
    node.after = hole.after;
    if (hole.before === undefined) this.first = node;
    else hole.before.after = node;
    if (hole.after !== undefined) hole.after.before = node;
    this.#byEnd.set(to + piece.size, node);
    this.gaps.add(this.gapBefore(node));
    this.gaps.add(this.gapAfter(node));
    this.moves.push({ id: piece.id, from, to, size: piece.size });
    return [before, after, node].filter((each) => each !== undefined);
  }

  /** The gap that begins at `to`. */
  #holeAt(to: number): Gap & { before: Node | undefined; after: Node | undefined } {
    const before = this.#byEnd.get(to);
    if (before === undefined && to !== this.#space.start) throw new RangeError(`no gap begins at ${to}`);
    const after = before === undefined ? this.first : before.after;
    return { offset: to, size: (after?.offset ?? this.#space.end) - to, before, after };
  }
}
