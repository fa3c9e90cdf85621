/** The events of the last time, numbered, on disk: a reader that comes back goes on where it was. */
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import type { ApiEvent } from '../api/model.ts';

const Row = z.object({
  id: z.int(),
  at: z.number(),
  type: z.string(),
  data: z.string().transform((text) => z.record(z.string(), z.unknown()).parse(JSON.parse(text))),
});

/**
 * Numbers that are left out at each start. Events do not wait for the disk, so that a power failure takes the last
 * ones, at most as many as lie between two checkpoints; their numbers must not come again for others.
 */
const SKIPPED = 10_000;

export class EventLog {
  readonly #db: DatabaseSync;
  readonly #keep: number;
  #sinceTrim = 0;

  /**
   * @param db a connection of its own: what is written through it does not wait for the disk
   * @param keep how many events stay; a few more until the next trim
   */
  constructor(db: DatabaseSync, keep: number) {
    this.#db = db;
    this.#keep = keep;
    db.prepare("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'event'").run(SKIPPED);
    db.exec('PRAGMA synchronous = NORMAL');
    this.#trim();
  }

  /** Writes an event; it survives the end of this process. */
  append(type: string, data: Record<string, unknown>, atMs = Date.now()): ApiEvent {
    const { lastInsertRowid } = this.#db
      .prepare('INSERT INTO event (at, type, data) VALUES (?, ?, ?)')
      .run(atMs, type, JSON.stringify(data));
    this.#sinceTrim += 1;
    if (this.#sinceTrim > Math.max(64, this.#keep / 16)) this.#trim();
    return { id: Number(lastInsertRowid), atMs, type, data };
  }

  /** Events after a number, the oldest first. */
  after(id: number, limit: number): ApiEvent[] {
    return this.#db
      .prepare('SELECT id, at, type, data FROM event WHERE id > ? ORDER BY id LIMIT ?')
      .all(id, limit)
      .map((row) => {
        const { at: atMs, ...rest } = Row.parse(row);
        return { ...rest, atMs };
      });
  }

  /** Numbers of the first event that is still there and of the last one that was; 0 when there was none. */
  bounds(): { first: number; last: number } {
    const Bound = z.object({ first: z.int().nullable(), last: z.int().nullable() });
    const sql = `SELECT (SELECT min(id) FROM event) AS first,
      (SELECT seq FROM sqlite_sequence WHERE name = 'event') AS last`;
    const { first, last } = Bound.parse(this.#db.prepare(sql).get());
    return { first: first ?? 0, last: last ?? 0 };
  }

  #trim(): void {
    this.#sinceTrim = 0;
    this.#db
      .prepare('DELETE FROM event WHERE id <= (SELECT id FROM event ORDER BY id DESC LIMIT 1 OFFSET ?)')
      .run(this.#keep);
  }
}
