/**
 * The journal of the destination's half: each incoming migration with its hand-over, what was ordered and staged, its
 * state, its steps with their undo, and all that was told of it. Everything is written before it is acted upon or told.
 */
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { nowMs } from '../../base/clock.ts';
import { atomically, openDatabase } from '../../base/sqlite.ts';
import type { JournalStep, StepJournal } from '../journal.ts';
import { StepRow } from '../journal.ts';
import type { IncomingState } from '../protocol/incoming.ts';
import { incomingEnded } from '../protocol/incoming.ts';
import { HandOverText } from '../protocol/messages.ts';
import type { HandOver } from '../protocol/record.ts';
import { type PruneRule, pruneSome } from '../prune.ts';
import { OrderText, StagedText, StateText, Telling, type Told } from './wire-model.ts';

const SCHEMAS = [
  `
  CREATE TABLE incoming (
    id TEXT PRIMARY KEY, vm TEXT NOT NULL, hand_over TEXT NOT NULL, ordered TEXT, staged TEXT, state TEXT NOT NULL,
    created REAL NOT NULL, ended REAL
  ) STRICT;
  CREATE INDEX incoming_open ON incoming (created, id) WHERE ended IS NULL;
  CREATE INDEX incoming_vm ON incoming (vm, created);
  CREATE TABLE step (
    incoming TEXT NOT NULL REFERENCES incoming (id), seq INTEGER NOT NULL, phase TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, undo TEXT NOT NULL, detail TEXT, begun REAL NOT NULL, ended REAL,
    PRIMARY KEY (incoming, seq)
  ) STRICT;
  CREATE TABLE told (
    incoming TEXT NOT NULL REFERENCES incoming (id), rev INTEGER NOT NULL, at REAL NOT NULL, what TEXT NOT NULL,
    PRIMARY KEY (incoming, rev)
  ) STRICT;
`,
  // what is to be forgotten is found by it: the entries are large
  'CREATE INDEX incoming_created ON incoming (created, id);',
];

const json = <S extends z.ZodType>(schema: S) =>
  z.string().transform((text): z.output<S> => schema.parse(JSON.parse(text)));

const Row = z
  .object({
    id: z.string(),
    hand_over: json(HandOverText),
    ordered: json(OrderText).nullable(),
    staged: json(z.array(StagedText)).nullable(),
    state: json(StateText),
    created: z.number(),
    ended: z.number().nullable(),
  })
  .transform(
    ({ hand_over: handOver, ordered, staged, ...rest }): IncomingEntry => ({
      ...rest,
      handOver,
      order: ordered ?? undefined,
      staged: staged ?? [],
    }),
  );

/** One incoming migration as the journal has it. */
export interface IncomingEntry {
  id: string;
  handOver: HandOver;
  /** Undefined where a `cancel` came before its `reserve`. */
  order: OrderText | undefined;
  staged: readonly StagedText[];
  state: IncomingState;
  created: number;
  ended: number | null;
}

const Revision = z.object({ rev: z.int() });
const ToldRow = z.object({ rev: z.int(), at: z.number(), what: json(Telling) });

const SHAPE = {
  table: 'incoming',
  parts: [
    ['step', 'incoming'],
    ['told', 'incoming'],
  ],
  moved: (entry: string) => `json_extract(${entry}.state, '$.kind') = 'settled'`,
} as const;

export class IncomingJournal implements StepJournal {
  readonly #db: DatabaseSync;

  /** @throws NewerSchemaError */
  constructor(path: string) {
    this.#db = openDatabase(path, SCHEMAS);
  }

  /**
   * Writes a new entry with its first state; nothing happens where the id is known.
   * @returns whether it is new
   */
  open(handOver: HandOver, order: OrderText | undefined, state: IncomingState, reason: string): boolean {
    return atomically(this.#db, () => {
      const ended = incomingEnded(state) ? Date.now() : null;
      const { changes } = this.#db
        .prepare(
          `INSERT INTO incoming (id, vm, hand_over, ordered, state, created, ended) VALUES (?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO NOTHING`,
        )
        .run(
          ...[handOver.id, handOver.vm, JSON.stringify(handOver)],
          ...[order === undefined ? null : JSON.stringify(order), JSON.stringify(state), Date.now(), ended],
        );
      if (changes === 0) return false;
      this.#insert(handOver.id, { rev: 1, atMs: nowMs(), what: { kind: 'state', state, reason } });
      return true;
    });
  }

  /** The new state with what is told of it, on disk when this returns. */
  setState(id: string, state: IncomingState, told: Told): void {
    atomically(this.#db, () => {
      const ended = incomingEnded(state) ? Date.now() : null;
      this.#db
        .prepare('UPDATE incoming SET state = ?, ended = ? WHERE id = ?')
        .run(JSON.stringify(state), ended, id);
      this.#insert(id, told);
    });
  }

  stage(id: string, staged: readonly StagedText[]): void {
    this.#db.prepare('UPDATE incoming SET staged = ? WHERE id = ?').run(JSON.stringify(staged), id);
  }

  /**
   * Keeps something that happened, for the coordinator to hear whenever it asks. It survives the death of this process,
   * but is not waited for on the disk: traffic may wait.
   */
  tell(id: string, told: Told): void {
    this.#db.exec('PRAGMA synchronous = NORMAL');
    try {
      this.#insert(id, told);
    } finally {
      this.#db.exec('PRAGMA synchronous = FULL');
    }
  }

  #insert(id: string, { rev, atMs, what }: Told): void {
    this.#db
      .prepare('INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)')
      .run(id, rev, atMs, JSON.stringify(what));
  }

  /** What was told after a number, in its order. */
  told(id: string, after = 0, limit = 1_000_000): Told[] {
    return this.#db
      .prepare('SELECT rev, at, what FROM told WHERE incoming = ? AND rev > ? ORDER BY rev LIMIT ?')
      .all(id, after, limit)
      .map((row) => {
        const { rev, at, what } = ToldRow.parse(row);
        return { rev, atMs: at, what };
      });
  }

  find(id: string): IncomingEntry | undefined {
    const row = this.#db.prepare('SELECT * FROM incoming WHERE id = ?').get(id);
    return row === undefined ? undefined : Row.parse(row);
  }

  /** The migration by which a VM came here last, whole or degraded. */
  lastArrival(vm: string): IncomingEntry | undefined {
    const row = this.#db
      .prepare(
        `SELECT * FROM incoming WHERE vm = ? AND json_extract(state, '$.kind') = 'settled'
         ORDER BY created DESC, id DESC LIMIT 1`,
      )
      .get(vm);
    return row === undefined ? undefined : Row.parse(row);
  }

  /** Whether another migration of the same VM was ordered after this one. */
  isFollowed({ handOver: { vm }, id, created }: Pick<IncomingEntry, 'handOver' | 'id' | 'created'>): boolean {
    const row = this.#db
      .prepare(
        `SELECT 1 FROM incoming WHERE vm = ? AND ordered IS NOT NULL AND (created, rowid) >
           (?, (SELECT rowid FROM incoming WHERE id = ?)) LIMIT 1`,
      )
      .get(vm, created, id);
    return row !== undefined;
  }

  /** Those under way, the oldest first. */
  openEntries(): IncomingEntry[] {
    return this.#db
      .prepare('SELECT * FROM incoming WHERE ended IS NULL ORDER BY created, id')
      .all()
      .map((row) => Row.parse(row));
  }

  /** Forgets some entries that a rule does not keep; call it again until it gives less than `PRUNED_AT_ONCE`. */
  prune(rule: PruneRule): number {
    return pruneSome(this.#db, SHAPE, rule);
  }

  begin(incoming: string, phase: string, name: string, undo: Parameters<StepJournal['begin']>[3]): number {
    const row = this.#db
      .prepare('SELECT coalesce(max(seq), 0) + 1 AS rev FROM step WHERE incoming = ?')
      .get(incoming);
    const { rev: seq } = Revision.parse(row);
    this.#db
      .prepare("INSERT INTO step VALUES (?, ?, ?, ?, 'begun', ?, NULL, ?, NULL)")
      .run(incoming, seq, phase, name, JSON.stringify(undo), Date.now());
    return seq;
  }

  end(
    incoming: string,
    seq: number,
    status: Exclude<JournalStep['status'], 'begun'>,
    detail?: unknown,
  ): void {
    this.#db
      .prepare('UPDATE step SET status = ?, detail = ?, ended = ? WHERE incoming = ? AND seq = ?')
      .run(status, detail === undefined ? null : JSON.stringify(detail), Date.now(), incoming, seq);
  }

  steps(incoming: string): JournalStep[] {
    return this.#db
      .prepare(
        'SELECT seq, phase, name, status, undo, detail, begun, ended FROM step WHERE incoming = ? ORDER BY seq',
      )
      .all(incoming)
      .map((row) => StepRow.parse(row));
  }

  /** Nothing: the destination tells what the coordinator is to know, and that is kept. */
  note(): void {}

  dispose(): void {
    this.#db.close();
  }
}
