/** One daemon for one state directory: a lock that the kernel takes back when the process ends, however it ends. */
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';

/**
 * Takes the lock.
 * @returns what gives it back
 * @throws DAEMON_RUNS
 */
export function lockState(path: string, directory: string): () => void {
  const db = new DatabaseSync(path, { timeout: 0 });
  try {
    db.exec(
      'BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS holder (pid INTEGER NOT NULL) STRICT; DELETE FROM holder;',
    );
    db.prepare('INSERT INTO holder VALUES (?)').run(process.pid);
    // written, for whoever is refused, and taken again for as long as we live
    db.exec('COMMIT; BEGIN IMMEDIATE;');
    return () => db.close();
  } catch (error) {
    const pid = holderOf(db);
    db.close();
    if (pid === undefined) throw error;
    throw new ShadowferryError('DAEMON_RUNS', { directory, pid }, { cause: error });
  }
}

function holderOf(db: DatabaseSync): number | string | undefined {
  try {
    const row = db.prepare('SELECT pid FROM holder').get();
    return z.object({ pid: z.int() }).safeParse(row).data?.pid;
  } catch {
    return undefined;
  }
}
