/** Migrations, as the journal has them. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import { summaryOf } from '../../migration/history.ts';
import type { Journal, JournalMigration, JournalStep } from '../../migration/journal.ts';
import { swapOf } from '../../migration/swap/history.ts';
import { explainMigration, isCommitted, phaseOf } from '../../observe/explain.ts';
import type { Explanation, Migration, MigrationDetail, Note, Page, Step } from '../api/model.ts';
import { Pager } from '../http/pagination.ts';

/** Notes for programs are long. */
const NOTE_CHARACTERS = 4096;

const ByTime: z.ZodType<[number, string]> = z.tuple([z.number(), z.string()]);
const BySeq: z.ZodType<[number]> = z.tuple([z.number()]);

interface Paging {
  limit: number;
  cursor?: string | undefined;
}

function entryOf(migration: JournalMigration): Migration {
  const { id, vm, source, destination, ending, created, ended } = migration;
  const swap = swapOf(migration);
  const figures = summaryOf(migration);
  return {
    ...{ id, vm, source, destination, ending },
    kind: swap?.kind ?? 'migration',
    nic: swap?.device ?? null,
    with: swap?.with ?? null,
    state: ending === null ? 'open' : 'ended',
    phase: phaseOf(migration) ?? null,
    committed: isCommitted(migration),
    createdMs: created,
    endedMs: ended,
    totalMs: figures?.totalMs ?? null,
    blackoutMs: figures?.blackoutMs ?? null,
    memoryBytes: figures?.memoryBytes ?? null,
    error: figures?.error ?? null,
  };
}

function stepOf({ seq, phase, name, status, undo, begun, ended, detail }: JournalStep): Step {
  const kinds = undo.map(({ kind }) => kind);
  return { seq, phase, name, status, undo: kinds, beganMs: begun, endedMs: ended, detail };
}

export class MigrationService {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  list(query: Paging & { vm?: string | undefined; state?: 'open' | 'ended' | undefined }): Page<Migration> {
    const { vm, state, limit } = query;
    const pager = new Pager('migrations', { vm, state }, ByTime);
    const open = state === undefined ? undefined : state === 'open';
    const found = this.#journal.page({ vm, open }, limit + 1, pager.after(query.cursor));
    const page = pager.page(found, limit, ({ created, id }) => [created, id]);
    return { items: page.items.map(entryOf), next: page.next };
  }

  /** @throws UNKNOWN_MIGRATION */
  get(id: string): MigrationDetail {
    const migration = this.#need(id);
    const result: unknown = migration.result === null ? null : JSON.parse(migration.result);
    return { ...entryOf(migration), request: JSON.parse(migration.request), result };
  }

  /** @throws UNKNOWN_MIGRATION */
  steps(id: string, query: Paging): Page<Step> {
    this.#need(id);
    return this.#numbered(`steps ${id}`, this.#journal.steps(id).map(stepOf), query);
  }

  /** @throws UNKNOWN_MIGRATION */
  notes(id: string, query: Paging): Page<Note> {
    this.#need(id);
    const notes = this.#journal.notes(id).map(({ at, kind, text }, n) => ({
      ...{ seq: n + 1, atMs: at, kind },
      text: text.slice(0, NOTE_CHARACTERS),
    }));
    return this.#numbered(`notes ${id}`, notes, query);
  }

  /** @throws UNKNOWN_MIGRATION */
  explain(id: string): Explanation {
    return explainMigration(this.#need(id), this.#journal.steps(id), this.#journal.notes(id));
  }

  #numbered<T extends { seq: number }>(list: string, all: readonly T[], query: Paging): Page<T> {
    const pager = new Pager(list, {}, BySeq);
    const after = pager.after(query.cursor)?.[0] ?? 0;
    const found = all.filter(({ seq }) => seq > after).slice(0, query.limit + 1);
    return pager.page(found, query.limit, ({ seq }) => [seq]);
  }

  #need(id: string): JournalMigration {
    const found = this.#journal.find(id);
    if (found !== undefined) return found;
    throw new ShadowferryError('UNKNOWN_MIGRATION', { field: 'id', value: id });
  }
}
