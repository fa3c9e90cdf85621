/** A binary heap: the item with the smallest key comes first. */
export class Heap<T> {
  readonly #items: { key: number; item: T }[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** The smallest key; Infinity of an empty heap. */
  get least(): number {
    return this.#items[0]?.key ?? Number.POSITIVE_INFINITY;
  }

  push(key: number, item: T): void {
    const items = this.#items;
    let at = items.length;
    const entry = { key, item };
    items.push(entry);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = items[above];
      if (parent === undefined || parent.key <= key) break;
      items[at] = parent;
      at = above;
    }
    items[at] = entry;
  }

  /** Takes the first item out. */
  pop(): { key: number; item: T } | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      let child = items[below];
      if (child === undefined) break;
      const other = items[below + 1];
      if (other !== undefined && other.key < child.key) {
        below += 1;
        child = other;
      }
      if (child.key >= last.key) break;
      items[at] = child;
      at = below;
    }
    items[at] = last;
    return first;
  }
}
