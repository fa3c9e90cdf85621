/** SQLite files of this project: safe against crashes, shared by processes, and brought up to the newest schema. */
import { DatabaseSync } from 'node:sqlite';

/**
 * How long a process waits for its turn to write, ms. SQLite's waiting is not fair, so that this is far more than any
 * transaction takes: two processes that write without a pause have kept a third from it for seconds.
 */
const BUSY_MS = 30_000;

/** A file was written by a newer program; `found` is its schema, `known` the newest that this program knows. */
export class NewerSchemaError extends Error {
  readonly path: string;
  readonly found: number;
  readonly known: number;

  constructor(path: string, found: number, known: number) {
    super(`"${path}" has schema ${found}; this program knows schemas up to ${known}`);
    this.path = path;
    this.found = found;
    this.known = known;
  }
}

/** Runs a change as one transaction that waits for its turn before it reads, so that nobody writes in between. */
export function atomically<T>(db: DatabaseSync, act: () => T): T {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = act();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function versionOf(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.user_version);
}

/**
 * Opens or makes a database file (WAL; each commit is on disk before it returns).
 * @param schemas what brings a file from each schema to the next: the first makes an empty file's, and so on. What was
 *   released is never changed here, only followed by another.
 * @throws NewerSchemaError
 */
export function openDatabase(path: string, schemas: readonly string[]): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: BUSY_MS });
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
    const found = versionOf(db);
    if (found > schemas.length) throw new NewerSchemaError(path, found, schemas.length);
    // looked at again inside: another process may have done it meanwhile
    if (found < schemas.length) {
      atomically(db, () => {
        for (const schema of schemas.slice(versionOf(db))) db.exec(schema);
        db.exec(`PRAGMA user_version = ${schemas.length}`);
      });
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
