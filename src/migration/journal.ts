/**
 * The journal: each step is on disk before it acts, with the undo that it would need. A supervisor that finds an open
 * migration can take it back (before the commit) or forward (after it) from what stands here alone.
 */
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { openDatabase } from '../base/sqlite.ts';
import type { Ending, Phase, State } from './machine.ts';
import { type PruneRule, pruneSome } from './prune.ts';
import { Undo } from './undo.ts';

const SCHEMAS = [
  `
  CREATE TABLE IF NOT EXISTS migration (
    id TEXT PRIMARY KEY, vm TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL,
    request TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, ended REAL, ending TEXT, result TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS step (
    migration TEXT NOT NULL REFERENCES migration (id), seq INTEGER NOT NULL, phase TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, undo TEXT NOT NULL, detail TEXT, begun REAL NOT NULL, ended REAL,
    PRIMARY KEY (migration, seq)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS note (
    migration TEXT NOT NULL REFERENCES migration (id), at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL
  ) STRICT;
`,
  // lists in pieces, the open ones, and the notes of one migration, with a hundred thousand of them
  `
  CREATE INDEX migration_created ON migration (created, id);
  CREATE INDEX migration_vm ON migration (vm, created, id);
  CREATE INDEX migration_open ON migration (created, id) WHERE ending IS NULL;
  CREATE INDEX note_migration ON note (migration, at);
`,
];

/** A step as its row is read. */
export const StepRow = z.object({
  seq: z.number().int(),
  phase: z.string(),
  name: z.string(),
  status: z.enum(['begun', 'done', 'failed', 'undone', 'undo-failed']),
  undo: z.string().transform((text) => z.array(Undo).parse(JSON.parse(text))),
  detail: z.string().nullable(),
  begun: z.number(),
  ended: z.number().nullable(),
});
export type JournalStep = z.infer<typeof StepRow>;

const MigrationRow = z.object({
  id: z.string(),
  vm: z.string(),
  source: z.string(),
  destination: z.string(),
  request: z.string(),
  state: z.string(),
  created: z.number(),
  ended: z.number().nullable(),
  ending: z.string().nullable(),
  result: z.string().nullable(),
});
export type JournalMigration = z.infer<typeof MigrationRow>;

export interface MigrationFilter {
  vm?: string | undefined;
  /** Only those under way, or only the others. */
  open?: boolean | undefined;
}

/** Where steps are written: the coordinator's journal, or that of the destination's half. */
export type StepJournal = Pick<Journal, 'begin' | 'end' | 'note'>;

const COLUMNS = 'seq, phase, name, status, undo, detail, begun, ended';

const SHAPE = {
  table: 'migration',
  parts: [
    ['step', 'migration'],
    ['note', 'migration'],
  ],
  moved: (entry: string) => `${entry}.ending IN ('completed', 'degraded')`,
} as const;

export class Journal {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = openDatabase(path, SCHEMAS);
  }

  /**
   * While traffic waits, entries are written without waiting for the disk: they survive the death of this process, and
   * a power failure there would take the VM with it. `strict` waits again, for these entries too.
   */
  relax(): void {
    this.#db.exec('PRAGMA synchronous = NORMAL');
  }

  strict(): void {
    this.#db.exec('PRAGMA synchronous = FULL');
  }

  open(migration: {
    id: string;
    vm: string;
    source: string;
    destination: string;
    request: unknown;
    state: State;
  }): void {
    this.#db
      .prepare(
        'INSERT INTO migration (id, vm, source, destination, request, state, created) VALUES (?, ?, ?, ?, ?, ?, ?)',
      )
      .run(
        migration.id,
        migration.vm,
        migration.source,
        migration.destination,
        JSON.stringify(migration.request),
        JSON.stringify(migration.state),
        Date.now(),
      );
  }

  /** Writes a step before it acts; returns its number. */
  begin(migration: string, phase: Phase, name: string, undo: readonly Undo[]): number {
    const row = this.#db
      .prepare('SELECT coalesce(max(seq), 0) + 1 AS seq FROM step WHERE migration = ?')
      .get(migration);
    const { seq } = z.object({ seq: z.number().int() }).parse(row);
    this.#db
      .prepare(`INSERT INTO step (migration, ${COLUMNS}) VALUES (?, ?, ?, ?, 'begun', ?, NULL, ?, NULL)`)
      .run(migration, seq, phase, name, JSON.stringify(undo), Date.now());
    return seq;
  }

  end(
    migration: string,
    seq: number,
    status: Exclude<JournalStep['status'], 'begun'>,
    detail?: unknown,
  ): void {
    this.#db
      .prepare('UPDATE step SET status = ?, detail = ?, ended = ? WHERE migration = ? AND seq = ?')
      .run(status, detail === undefined ? null : JSON.stringify(detail), Date.now(), migration, seq);
  }

  setState(migration: string, state: State, reason: string): void {
    this.#db.prepare('UPDATE migration SET state = ? WHERE id = ?').run(JSON.stringify(state), migration);
    this.note(migration, 'state', reason);
  }

  note(migration: string, kind: string, text: string): void {
    this.#db.prepare('INSERT INTO note VALUES (?, ?, ?, ?)').run(migration, Date.now(), kind, text);
  }

  close(migration: string, ending: Ending, result: unknown): void {
    this.#db
      .prepare('UPDATE migration SET ending = ?, result = ?, ended = ? WHERE id = ?')
      .run(ending, JSON.stringify(result), Date.now(), migration);
  }

  steps(migration: string): JournalStep[] {
    const rows = this.#db
      .prepare(`SELECT ${COLUMNS} FROM step WHERE migration = ? ORDER BY seq`)
      .all(migration);
    return rows.map((row) => StepRow.parse(row));
  }

  /** Migrations, the oldest first. @param filter `open`: only those under way; otherwise all */
  migrations(filter: { vm?: string; open?: boolean } = {}): JournalMigration[] {
    const { vm, open = false } = filter;
    // the index of the few open ones ("+" keeps SQLite from that of the VM, which has years of ended ones)
    const conditions = open ? ['ending IS NULL'] : [];
    if (vm !== undefined) conditions.push(open ? '+vm = :vm' : 'vm = :vm');
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const rows = this.#db
      .prepare(`SELECT * FROM migration ${where} ORDER BY created`)
      .all(vm === undefined ? {} : { vm });
    return rows.map((row) => MigrationRow.parse(row));
  }

  /** A migration by its id. */
  find(id: string): JournalMigration | undefined {
    const row = this.#db.prepare('SELECT * FROM migration WHERE id = ?').get(id);
    return row === undefined ? undefined : MigrationRow.parse(row);
  }

  /**
   * Migrations, the newest first.
   * @param before the last one of the piece before: when it was created, and its id
   */
  page(
    filter: MigrationFilter,
    limit: number,
    before?: readonly [created: number, id: string],
  ): JournalMigration[] {
    const { vm, open } = filter;
    const conditions = [
      ...(vm === undefined ? [] : ['vm = :vm']),
      ...(open === undefined ? [] : [open ? 'ending IS NULL' : 'ending IS NOT NULL']),
      ...(before === undefined ? [] : ['(created, id) < (:created, :id)']),
    ];
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const [created, id] = before ?? [];
    return this.#db
      .prepare(`SELECT * FROM migration ${where} ORDER BY created DESC, id DESC LIMIT :limit`)
      .all({
        limit,
        ...(vm === undefined ? {} : { vm }),
        ...(created === undefined || id === undefined ? {} : { created, id }),
      })
      .map((row) => MigrationRow.parse(row));
  }

  /** A number that is another one when somebody else has written; costs next to nothing. */
  changes(): number {
    return Number(this.#db.prepare('PRAGMA data_version').get()?.data_version);
  }

  /** Forgets some entries that a rule does not keep; call it again until it gives less than `PRUNED_AT_ONCE`. */
  prune(rule: PruneRule): number {
    return pruneSome(this.#db, SHAPE, rule);
  }

  notes(migration: string): { at: number; kind: string; text: string }[] {
    const rows = this.#db
      .prepare('SELECT at, kind, text FROM note WHERE migration = ? ORDER BY at, rowid')
      .all(migration);
    return rows.map((row) => z.object({ at: z.number(), kind: z.string(), text: z.string() }).parse(row));
  }

  dispose(): void {
    this.#db.close();
  }
}
