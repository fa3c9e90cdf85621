/**
 * Tells of migrations that other processes of this machine write into the journal: when one begins, comes into another
 * phase, and ends.
 */
import { summaryOf } from '../../migration/history.ts';
import type { Journal, JournalMigration } from '../../migration/journal.ts';
import { isCommitted, phaseOf } from '../../observe/explain.ts';

/** Pause between looks whether anything was written; a look costs microseconds. */
const LOOK_MS = 500;
/** New migrations that are read at once. */
const BATCH = 200;

export type Publish = (type: string, data: Record<string, unknown>) => void;

/** What an entry of the journal is to who asked for it: `again` when it was a try that another one follows. */
export type NameOf = (migration: JournalMigration) => { id: string; again: boolean };

const itself: NameOf = ({ id }) => ({ id, again: false });

export class JournalTail {
  readonly #journal: Journal;
  readonly #publish: Publish;
  readonly #timer: NodeJS.Timeout;
  readonly #onError: (error: unknown) => void;
  readonly #nameOf: NameOf;
  #changes: number;
  /** Open ones, with the state that was told last. */
  #open: Map<string, string>;
  /** The newest that was told: when it was created, and its id. */
  #newest: readonly [number, string];

  constructor(
    journal: Journal,
    publish: Publish,
    onError: (error: unknown) => void,
    options: { nameOf?: NameOf; everyMs?: number } = {},
  ) {
    const { nameOf = itself, everyMs = LOOK_MS } = options;
    this.#journal = journal;
    this.#publish = publish;
    this.#onError = onError;
    this.#nameOf = nameOf;
    this.#changes = journal.changes();
    this.#open = new Map(journal.migrations({ open: true }).map(({ id, state }) => [id, state]));
    const [newest] = journal.page({}, 1);
    this.#newest = [newest?.created ?? 0, newest?.id ?? ''];
    this.#timer = setInterval(() => this.look(), everyMs).unref();
  }

  /** Looks now. */
  look(): void {
    try {
      const changes = this.#journal.changes();
      if (changes === this.#changes) return;
      this.#changes = changes;
      this.#tell();
    } catch (error) {
      this.#onError(error);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tell(): void {
    const fresh = this.#fresh();
    const known = [...this.#open.keys()].flatMap((each) => this.#journal.find(each) ?? []);
    for (const migration of fresh) {
      this.#newest = [migration.created, migration.id];
      if (this.#open.has(migration.id)) continue;
      this.#say('migration.begun', migration);
      this.#follow(migration);
    }
    for (const migration of known) this.#follow(migration);
  }

  /** Migrations that are newer than all that were told, the oldest first. */
  #fresh(): JournalMigration[] {
    const [created, id] = this.#newest;
    const fresh: JournalMigration[] = [];
    let before: readonly [number, string] | undefined;
    for (;;) {
      const piece = this.#journal.page({}, BATCH, before);
      const isNew = piece.filter(
        (each) => each.created > created || (each.created === created && each.id > id),
      );
      fresh.push(...isNew);
      const last = isNew.at(-1);
      if (last === undefined || isNew.length < BATCH) return fresh.reverse();
      before = [last.created, last.id];
    }
  }

  #follow(migration: JournalMigration): void {
    const { id, state, ending } = migration;
    if (ending !== null) {
      this.#open.delete(id);
      this.#say('migration.ended', migration);
    } else if (this.#open.get(id) !== state) {
      const first = !this.#open.has(id);
      this.#open.set(id, state);
      if (!first) this.#say('migration.changed', migration);
    }
  }

  #say(type: string, migration: JournalMigration): void {
    const { vm, source, destination, ending } = migration;
    const phase = phaseOf(migration) ?? null;
    const { id, again } = this.#nameOf(migration);
    if (again && ending !== null) return;
    const how = { phase, committed: isCommitted(migration), ending };
    const result = ending === null ? {} : endOf(migration);
    this.#publish(type, { id, vm, source, destination, ...how, ...result });
  }
}

/** Of one that has ended: how long it took, and why it did not go as it was asked for. */
function endOf(migration: JournalMigration): Record<string, unknown> {
  const { totalMs = null, blackoutMs = null, error = null } = summaryOf(migration) ?? {};
  return { totalMs, blackoutMs, error };
}
