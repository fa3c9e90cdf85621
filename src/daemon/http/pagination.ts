/** Lists in pieces: an opaque cursor says after which item the next piece begins. Pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { Page } from '../api/model.ts';

const Cursor = z.tuple([
  /** Of which list with which filters this is a place. */
  z.string(),
  /** Sort key of the last item that was given. */
  z.array(z.union([z.string(), z.number()])).max(4),
]);

/** Marks a list and its filters. */
function markOf(list: string, filters: Readonly<Record<string, unknown>>): string {
  const sorted = Object.entries(filters)
    .filter(([, value]) => value !== undefined)
    .sort();
  return createHash('sha256')
    .update(JSON.stringify([list, sorted]))
    .digest('base64url')
    .slice(0, 12);
}

/** One list with its filters and the form of its sort key. */
export class Pager<Key extends (string | number)[]> {
  readonly #mark: string;
  readonly #key: z.ZodType<Key>;

  constructor(list: string, filters: Readonly<Record<string, unknown>>, key: z.ZodType<Key>) {
    this.#mark = markOf(list, filters);
    this.#key = key;
  }

  /** The sort key after which to go on; undefined: from the beginning. @throws INPUT_FIELD */
  after(cursor: string | undefined): Key | undefined {
    if (cursor === undefined) return undefined;
    const wrong = () => {
      const problem = 'is not what "next" of a piece of this list, with the same filters, said';
      return new ShadowferryError('INPUT_FIELD', { field: 'query /cursor', problem });
    };
    let content: unknown;
    try {
      content = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    } catch {
      throw wrong();
    }
    const parsed = Cursor.safeParse(content);
    if (!parsed.success || parsed.data[0] !== this.#mark) throw wrong();
    const key = this.#key.safeParse(parsed.data[1]);
    if (!key.success) throw wrong();
    return key.data;
  }

  /**
   * A piece.
   * @param found up to `limit` + 1 items: the one too many says that there are more
   */
  page<T>(found: readonly T[], limit: number, keyOf: (item: T) => Key): Page<T> {
    const items = found.slice(0, limit);
    const last = items.at(-1);
    const more = found.length > limit && last !== undefined;
    return { items, next: more ? this.#encode(keyOf(last)) : null };
  }

  #encode(key: Key): string {
    return Buffer.from(JSON.stringify([this.#mark, key])).toString('base64url');
  }
}

/** A piece of a list that is in memory, sorted by one text. */
export function pageOfArray<T>(
  pager: Pager<[string]>,
  all: readonly T[],
  keyOf: (item: T) => string,
  query: { limit: number; cursor?: string | undefined },
): Page<T> {
  const after = pager.after(query.cursor)?.[0];
  const sorted = all.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const rest = after === undefined ? sorted : sorted.filter((item) => keyOf(item) > after);
  return pager.page(rest.slice(0, query.limit + 1), query.limit, (item) => [keyOf(item)]);
}

export const TextKey: z.ZodType<[string]> = z.tuple([z.string()]);
