/** Migrations, as the journal has them. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { CopyTrace } from '../../memory/strategy/trace.ts';
import { summaryOf } from '../../migration/history.ts';
import type { Journal, JournalMigration, JournalStep } from '../../migration/journal.ts';
import type { Place } from '../../migration/queue/queue.ts';
import { swapOf } from '../../migration/swap/history.ts';
import { explainMigration, isCommitted, phaseOf, traceOf } from '../../observe/explain.ts';
import type { Explanation, Migration, MigrationDetail, Note, Page, Step } from '../api/model.ts';
import { Pager } from '../http/pagination.ts';
import { attemptId, type Job, jobOfAttempt } from '../work/job.ts';
import type { Progress } from '../work/tell.ts';

/** Notes for programs are long. */
const NOTE_CHARACTERS = 4096;

const ByTime: z.ZodType<[number, string]> = z.tuple([z.number(), z.string()]);
const BySeq: z.ZodType<[number]> = z.tuple([z.number()]);

interface Paging {
  limit: number;
  cursor?: string | undefined;
}

interface ListQuery extends Paging {
  vm?: string | undefined;
  state?: Migration['state'] | undefined;
}

/** What is known of jobs that the journal does not have, or not yet. */
export interface JobView {
  /** All that wait or are under way. */
  open(): Job[];
  find(id: string): Job | undefined;
  place(id: string): Place | undefined;
  isHeld(id: string): boolean;
  progress(id: string): Progress | undefined;
}

/** Without a queue, as where only a journal is looked at. */
export const NO_JOBS: JobView = {
  open: () => [],
  find: () => undefined,
  place: () => undefined,
  isHeld: () => false,
  progress: () => undefined,
};

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
    ...{ queue: null, held: false, copy: null },
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

function copyOf(copy: Progress['copy']): Migration['copy'] {
  if (copy === undefined) return null;
  const { transferred, remaining, total, rateBps, etaMs } = copy;
  const bytes = { transferredBytes: transferred, remainingBytes: remaining, totalBytes: total };
  return { ...bytes, rateBps, etaMs };
}

export class MigrationService {
  readonly #journal: Journal;
  readonly #jobs: JobView;

  constructor(journal: Journal, jobs: JobView = NO_JOBS) {
    this.#journal = journal;
    this.#jobs = jobs;
  }

  list(query: ListQuery): Page<Migration> {
    const { vm, state, limit } = query;
    const pager = new Pager('migrations', { vm, state }, ByTime);
    const after = pager.after(query.cursor);
    const wanted = (each: Migration) =>
      (vm === undefined || each.vm === vm) && (state === undefined || each.state === state);
    const open = state === undefined ? undefined : state === 'open';
    const jobs = this.#jobs
      .open()
      .flatMap((job) => this.#unwritten(job) ?? [])
      .filter((each) => wanted(each) && (after === undefined || isBefore(each, after)));
    const written = state === 'queued' ? [] : this.#written({ vm, open }, limit + 1, after);
    const found = [...jobs, ...written].sort((a, b) => (isBefore(a, [b.createdMs, b.id]) ? 1 : -1));
    return pager.page(found.slice(0, limit + 1), limit, ({ createdMs, id }) => [createdMs, id]);
  }

  /** @throws UNKNOWN_MIGRATION */
  get(id: string): MigrationDetail {
    const job = this.#jobs.find(id);
    const unwritten = job === undefined ? undefined : this.#unwritten(job);
    if (job !== undefined && unwritten !== undefined)
      return { ...unwritten, request: job.work.request, result: null };
    const migration = this.#need(id);
    const result: unknown = migration.result === null ? null : JSON.parse(migration.result);
    return { ...this.#shown(migration), request: JSON.parse(migration.request), result };
  }

  /** Without its request and result. @throws UNKNOWN_MIGRATION */
  summary(id: string): Migration {
    const { request: _request, result: _result, ...rest } = this.get(id);
    return rest;
  }

  /** @throws UNKNOWN_MIGRATION, CANCEL_LATE when it has ended or was handed over */
  mayCancel(id: string): void {
    const { state, committed, ending, destination } = this.get(id);
    if (state === 'ended') throw new ShadowferryError('CANCEL_LATE', { id, why: `it has ended (${ending})` });
    if (!committed) return;
    const why = `host "${destination}" owns the VM already`;
    throw new ShadowferryError('CANCEL_LATE', { id, why });
  }

  /** @throws UNKNOWN_MIGRATION */
  steps(id: string, query: Paging): Page<Step> {
    const steps = this.#journal.steps(this.#idInJournal(id)).map(stepOf);
    return this.#numbered(`steps ${id}`, steps, query);
  }

  /** @throws UNKNOWN_MIGRATION */
  notes(id: string, query: Paging): Page<Note> {
    const notes = this.#journal.notes(this.#idInJournal(id)).map(({ at, kind, text }, n) => ({
      ...{ seq: n + 1, atMs: at, kind },
      text: text.slice(0, NOTE_CHARACTERS),
    }));
    return this.#numbered(`notes ${id}`, notes, query);
  }

  /** @throws UNKNOWN_MIGRATION */
  explain(id: string): Explanation {
    const job = this.#jobs.find(id);
    const place = this.#jobs.place(id);
    const migration = this.#find(id);
    if (migration === undefined && job !== undefined) return explainWaiting(job, place);
    const written = this.#need(id);
    const explained = explainMigration(
      written,
      this.#journal.steps(written.id),
      this.#journal.notes(written.id),
    );
    return { ...explained, id };
  }

  /** @throws UNKNOWN_MIGRATION */
  trace(id: string): { trace: CopyTrace | null } {
    if (this.#find(id) === undefined && this.#jobs.find(id) !== undefined) return { trace: null };
    return { trace: traceOf(this.#journal.notes(this.#need(id).id)) ?? null };
  }

  #numbered<T extends { seq: number }>(list: string, all: readonly T[], query: Paging): Page<T> {
    const pager = new Pager(list, {}, BySeq);
    const after = pager.after(query.cursor)?.[0] ?? 0;
    const found = all.filter(({ seq }) => seq > after).slice(0, query.limit + 1);
    return pager.page(found, query.limit, ({ seq }) => [seq]);
  }

  /** A job that waits, or has just begun and does not stand in the journal yet; undefined where the journal has it. */
  #unwritten(job: Job): Migration | undefined {
    const { id, vm, source, destination, work, createdMs, putBacks } = job;
    const place = this.#jobs.place(id);
    if (place === undefined && (job.state === 'ended' || this.#find(id) !== undefined)) return undefined;
    const swap = work.kind === 'migration' ? undefined : work.request;
    const figures = { totalMs: null, blackoutMs: null, memoryBytes: null, error: null };
    return {
      ...{
        id,
        vm,
        source,
        destination,
        kind: work.kind,
        nic: swap?.device ?? null,
        with: swap?.with ?? null,
      },
      state: place === undefined ? 'open' : 'queued',
      queue: place === undefined ? null : { position: place.position, reason: place.reason, tries: putBacks },
      ...{ held: false, copy: null, phase: null, committed: false },
      ...{ createdMs, endedMs: null, ending: null, ...figures },
    };
  }

  /** Migrations of the journal, each under the id that was given to who asked, without tries that others followed. */
  #written(
    filter: { vm: string | undefined; open: boolean | undefined },
    count: number,
    after: [number, string] | undefined,
  ): Migration[] {
    const found: Migration[] = [];
    let before = after;
    for (;;) {
      const piece = this.#journal.page(filter, count, before);
      for (const each of piece) if (!this.#isSuperseded(each)) found.push(this.#shown(each));
      const last = piece.at(-1);
      if (last === undefined || piece.length < count || found.length >= count) return found.slice(0, count);
      before = [last.created, last.id];
    }
  }

  /** Whether it was one try of a job that was tried again since, or waits for that. */
  #isSuperseded({ id, ending }: JournalMigration): boolean {
    if (ending !== 'rolled-back') return false;
    const job = this.#jobs.find(jobOfAttempt(id));
    if (job === undefined) return false;
    return job.state === 'waiting' || attemptId(job.id, job.attempts) !== id;
  }

  #shown(migration: JournalMigration): Migration {
    const entry = entryOf(migration);
    const job = this.#jobs.find(jobOfAttempt(migration.id));
    if (job === undefined) return entry;
    const { id } = job;
    if (entry.state === 'ended') return { ...entry, id };
    return { ...entry, id, held: this.#jobs.isHeld(id), copy: copyOf(this.#jobs.progress(id)?.copy) };
  }

  /** The last try of a job, or the migration of this id. */
  #find(id: string): JournalMigration | undefined {
    const job = this.#jobs.find(id);
    return this.#journal.find(job === undefined ? id : attemptId(id, job.attempts));
  }

  #need(id: string): JournalMigration {
    const found = this.#find(id);
    if (found !== undefined) return found;
    throw new ShadowferryError('UNKNOWN_MIGRATION', { field: 'id', value: id });
  }

  /** @throws UNKNOWN_MIGRATION */
  #idInJournal(id: string): string {
    const job = this.#jobs.find(id);
    return job === undefined ? this.#need(id).id : attemptId(id, job.attempts);
  }
}

/** Whether an entry stands after a place in a list that has the newest first. */
function isBefore({ createdMs, id }: Migration, [at, other]: readonly [number, string]): boolean {
  return createdMs < at || (createdMs === at && id < other);
}

function explainWaiting(
  { id, vm, source, destination, createdMs, work }: Job,
  place: Place | undefined,
): Explanation {
  const what = work.kind === 'migration' ? `from ${source} to ${destination}` : `(${work.kind}) on ${source}`;
  const how =
    place === undefined
      ? 'is about to begin'
      : `waits, number ${place.position} in the queue: ${place.reason}`;
  return {
    id,
    summary: `VM "${vm}" ${what} ${how}.`,
    lines: [{ atMs: createdMs, text: 'it was asked for' }],
    advice: [],
  };
}
