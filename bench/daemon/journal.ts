/** A journal of years for a daemon that is measured: one migration as real ones are, many times over. */
import { DatabaseSync } from 'node:sqlite';
import { Journal } from '../../src/migration/journal.ts';
import { initialState, type Phase } from '../../src/migration/machine.ts';

/** Steps and notes of a migration with one direct NIC. */
const STEPS = 19;
const NOTES = 16;
const PHASES: readonly Phase[] = ['reserve', 'stage', 'detach', 'copy', 'switchover', 'attach', 'settle'];
const TEMPLATE = 'template';
/**
 * Bytes of a result. Real ones have 30,000; what is more than a page of the file lies apart and is not read by who looks
 * for something else, so that these are enough, and the file is made in a bearable time.
 */
const RESULT_BYTES = 6_000;
const NOTE_BYTES = 60;
const HOUR_MS = 3_600_000;

/** One migration that ended well, written as the engine writes it. */
function writeTemplate(journal: Journal): void {
  const state = initialState(false);
  journal.open({
    ...{ id: TEMPLATE, vm: 'web0', source: 'alpha', destination: 'beta' },
    request: { vm: 'web0', to: 'beta', continuity: 'auto', strategy: 'auto' },
    state,
  });
  for (let n = 0; n < STEPS; n += 1) {
    const phase = PHASES[Math.floor((n * PHASES.length) / STEPS)] ?? 'settle';
    const undo = [{ kind: 'release-device', host: 'beta', device: 'nic0' }] as const;
    journal.end(TEMPLATE, journal.begin(TEMPLATE, phase, `step ${n}`, undo), 'done', { n });
  }
  for (let n = 0; n < NOTES; n += 1) journal.note(TEMPLATE, 'decision', 'so it is '.repeat(NOTE_BYTES / 9));
  journal.setState(TEMPLATE, { kind: 'ended', ending: 'completed' }, 'all phases done');
  const result = { totalMs: 5000, blackoutMs: 60, memoryBytes: 1e8, warnings: ['w'.repeat(RESULT_BYTES)] };
  journal.close(TEMPLATE, 'completed', result);
}

/** Makes a journal of the newest schema with `many` migrations of a hundred VMs, the last of them an hour ago. */
export function writeJournal(path: string, many: number): void {
  const journal = new Journal(path);
  writeTemplate(journal);
  journal.dispose();
  const db = new DatabaseSync(path);
  try {
    db.exec(`
      PRAGMA synchronous = OFF; BEGIN;
      CREATE TEMP TABLE entry AS
        WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ${many})
        SELECT n, 'm' || printf('%08d', n) AS id, ${Date.now() - HOUR_MS} - (${many} - n) * 60000.0 AS at FROM count;
      INSERT INTO migration (id, vm, source, destination, request, state, created, ended, ending, result)
        SELECT entry.id, 'web' || (n % 100), source, destination, request, state, at, at + 5000, ending, result
        FROM entry, migration WHERE migration.id = '${TEMPLATE}';
      INSERT INTO step (migration, seq, phase, name, status, undo, detail, begun, ended)
        SELECT entry.id, seq, phase, name, status, undo, detail, at, at
        FROM entry, step WHERE migration = '${TEMPLATE}';
      INSERT INTO note (migration, at, kind, text)
        SELECT entry.id, entry.at, kind, text FROM entry, note WHERE migration = '${TEMPLATE}';
      DELETE FROM step WHERE migration = '${TEMPLATE}';
      DELETE FROM note WHERE migration = '${TEMPLATE}';
      DELETE FROM migration WHERE id = '${TEMPLATE}';
      COMMIT; PRAGMA wal_checkpoint (TRUNCATE);`);
  } finally {
    db.close();
  }
}
