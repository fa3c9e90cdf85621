/** The queue on disk: what was asked for and answered with "accepted" is not forgotten. */
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { openDatabase } from '../../base/sqlite.ts';
import { type Job, Work } from './job.ts';

const SCHEMAS = [
  `
  CREATE TABLE job (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL UNIQUE, vm TEXT NOT NULL, principal TEXT NOT NULL, key TEXT,
    source TEXT NOT NULL, destination TEXT NOT NULL, work TEXT NOT NULL, state TEXT NOT NULL,
    slot INTEGER NOT NULL, turn INTEGER NOT NULL, created REAL NOT NULL, ended REAL,
    attempts INTEGER NOT NULL, put_backs INTEGER NOT NULL, not_before REAL NOT NULL, why TEXT
  ) STRICT;
  CREATE INDEX job_open ON job (seq) WHERE ended IS NULL;
  CREATE INDEX job_ended ON job (ended) WHERE ended IS NOT NULL;
  CREATE INDEX job_key ON job (principal, key) WHERE key IS NOT NULL;
`,
];

/** As long as the first answer to an idempotency key is kept. */
const KEEP_MS = 24 * 3_600_000;

const Row = z
  .object({
    id: z.string(),
    seq: z.int(),
    vm: z.string(),
    principal: z.string(),
    source: z.string(),
    destination: z.string(),
    work: z.string().transform((text) => Work.parse(JSON.parse(text))),
    state: z.enum(['waiting', 'running', 'ended']),
    slot: z.int(),
    turn: z.int(),
    created: z.number(),
    attempts: z.int(),
    put_backs: z.int(),
    not_before: z.number(),
    why: z.string().nullable(),
  })
  .transform(
    ({ created, put_backs, not_before, why, ...rest }): Job => ({
      ...rest,
      createdMs: created,
      putBacks: put_backs,
      notBeforeMs: not_before,
      putBack: why ?? undefined,
    }),
  );

const Sequence = z.object({ seq: z.int() });

/** A job as it comes; its number is given by the store. */
export type NewJob = Omit<Job, 'seq' | 'state' | 'attempts' | 'putBacks' | 'notBeforeMs' | 'putBack'>;

export class JobStore {
  readonly #db: DatabaseSync;

  /** @throws NewerSchemaError */
  constructor(path: string) {
    this.#db = openDatabase(path, SCHEMAS);
  }

  /** Writes a job; when this returns it is on disk. @param key of the request that asked for it */
  add(job: NewJob, key: string | undefined): Job {
    const { seq } = Sequence.parse(
      this.#db.prepare('SELECT coalesce(max(seq), 0) + 1 AS seq FROM job').get(),
    );
    const made: Job = { ...job, seq, state: 'waiting', attempts: 0, putBacks: 0, notBeforeMs: 0 };
    this.#db
      .prepare(
        `INSERT INTO job (id, seq, vm, principal, key, source, destination, work, state, slot, turn, created, attempts,
           put_backs, not_before) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?, ?, 0, 0, 0)`,
      )
      .run(
        ...[made.id, seq, made.vm, made.principal, key ?? null, made.source, made.destination],
        ...[JSON.stringify(made.work), made.slot, made.turn, made.createdMs],
      );
    return made;
  }

  /** All that have not ended, in the order in which they came. */
  open(): Job[] {
    return this.#db
      .prepare('SELECT * FROM job WHERE ended IS NULL ORDER BY seq')
      .all()
      .map((row) => Row.parse(row));
  }

  find(id: string): Job | undefined {
    const row = this.#db.prepare('SELECT * FROM job WHERE id = ?').get(id);
    return row === undefined ? undefined : Row.parse(row);
  }

  /** What a request with an idempotency key asked for. */
  byKey(principal: string, key: string): Job | undefined {
    const row = this.#db.prepare('SELECT * FROM job WHERE principal = ? AND key = ?').get(principal, key);
    return row === undefined ? undefined : Row.parse(row);
  }

  /** An attempt begins. */
  begin(id: string, attempt: number): void {
    this.#db.prepare("UPDATE job SET state = 'running', attempts = ? WHERE id = ?").run(attempt, id);
  }

  /** It waits again. */
  putBack(id: string, putBacks: number, notBeforeMs: number, why: string): void {
    this.#db
      .prepare("UPDATE job SET state = 'waiting', put_backs = ?, not_before = ?, why = ? WHERE id = ?")
      .run(putBacks, notBeforeMs, why, id);
  }

  /** It has ended. The journal has how; here it stays as long as the same request may come again. */
  end(id: string, nowMs: number): void {
    this.#db.prepare("UPDATE job SET state = 'ended', ended = ? WHERE id = ?").run(nowMs, id);
    // those with several attempts stay: they lead from the id that was given to the entry that counts
    this.#db.prepare('DELETE FROM job WHERE ended < ? AND attempts < 2').run(nowMs - KEEP_MS);
  }

  dispose(): void {
    this.#db.close();
  }
}
