/** Requests that may come twice act once: the first answer is kept under the key that the client chose. */
import { createHash, randomUUID } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { atomically } from '../../base/sqlite.ts';
import { ShadowferryError } from '../../errors.ts';

/** How long an answer is kept. */
const KEEP_HOURS = 24;

const Row = z.object({
  request: z.string(),
  run: z.string(),
  status: z.int().nullable(),
  body: z.string().nullable(),
});

export interface KeptAnswer {
  status: number;
  body: string;
}

export class Idempotency {
  readonly #db: DatabaseSync;
  readonly #nowMs: () => number;
  /** Tells the requests of this process from those that an earlier one did not finish. */
  readonly #run = randomUUID();

  constructor(db: DatabaseSync, nowMs: () => number = Date.now) {
    this.#db = db;
    this.#nowMs = nowMs;
  }

  /** What tells requests apart. */
  static hash(method: string, url: string, body: unknown): string {
    return createHash('sha256')
      .update(JSON.stringify([method, url, body ?? null]))
      .digest('hex');
  }

  /**
   * Reserves a key. The answer when the request was done already; undefined when it is to be done now, and `finish`
   * or `abandon` must follow.
   * @throws IDEMPOTENCY_REUSED, IDEMPOTENCY_BUSY
   */
  begin(principal: string, key: string, request: string): KeptAnswer | undefined {
    const now = this.#nowMs();
    return atomically(this.#db, () => {
      this.#db.prepare('DELETE FROM kept WHERE at < ?').run(now - KEEP_HOURS * 3_600_000);
      const found = this.#db
        .prepare('SELECT request, run, status, body FROM kept WHERE principal = ? AND key = ?')
        .get(principal, key);
      if (found === undefined) {
        this.#db
          .prepare('INSERT INTO kept (principal, key, request, run, at) VALUES (?, ?, ?, ?, ?)')
          .run(principal, key, request, this.#run, now);
        return undefined;
      }
      const row = Row.parse(found);
      if (row.request !== request)
        throw new ShadowferryError('IDEMPOTENCY_REUSED', { key, hours: KEEP_HOURS });
      if (row.status !== null && row.body !== null) return { status: row.status, body: row.body };
      const state =
        row.run === this.#run
          ? 'is still being worked on'
          : 'was cut off when the daemon ended, so that it is not known how far it came';
      throw new ShadowferryError('IDEMPOTENCY_BUSY', { key, state });
    });
  }

  /** Requests that an earlier process did not answer. */
  interrupted(): { principal: string; key: string }[] {
    return this.#db
      .prepare('SELECT principal, key FROM kept WHERE status IS NULL AND run <> ?')
      .all(this.#run)
      .map((row) => z.object({ principal: z.string(), key: z.string() }).parse(row));
  }

  finish(principal: string, key: string, answer: KeptAnswer): void {
    this.#db
      .prepare('UPDATE kept SET status = ?, body = ? WHERE principal = ? AND key = ?')
      .run(answer.status, answer.body, principal, key);
  }

  /** Forgets a request that did not come about: it may be tried again with the same key. */
  abandon(principal: string, key: string): void {
    this.#db
      .prepare('DELETE FROM kept WHERE principal = ? AND key = ? AND status IS NULL')
      .run(principal, key);
  }
}
