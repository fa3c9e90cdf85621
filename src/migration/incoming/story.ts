/** What is told of one incoming migration, in its order: kept in memory while it runs, and in the journal. */
import { nowMs } from '../../base/clock.ts';
import { reasonOf } from '../../errors.ts';
import type { MigrationEvent } from '../events.ts';
import type { Phase } from '../machine.ts';
import type { IncomingState } from '../protocol/incoming.ts';
import type { RunLog } from '../run.ts';
import { Timeline } from '../timeline.ts';
import type { IncomingJournal } from './journal.ts';
import type { Telling, Told } from './wire-model.ts';

/** A timeline whose marks and steps are told, for the coordinator to put them into its own. */
class ToldTimeline extends Timeline {
  readonly #tell: (what: Telling, atMs: number) => void;

  constructor(tell: (what: Telling, atMs: number) => void) {
    super();
    this.#tell = tell;
  }

  override mark(name: string, epochMs = nowMs(), detail?: string): void {
    super.mark(name, epochMs, detail);
    this.#tell({ kind: 'mark', name, ...(detail === undefined ? {} : { nic: detail }) }, epochMs);
  }

  override async step<T>(phase: Phase, name: string, critical: boolean, act: () => Promise<T>): Promise<T> {
    const began = nowMs();
    try {
      return await super.step(phase, name, critical, act);
    } finally {
      const ended = nowMs();
      this.#tell({ kind: 'step', phase, name, critical, durationMs: ended - began }, ended);
    }
  }
}

export class Story {
  readonly id: string;
  readonly #journal: IncomingJournal;
  readonly #told: Told[];
  readonly #heard: (told: Told) => void;
  readonly #unwritable: (why: string) => void;
  /** What the disk did not take: what was told, and the last state. */
  #unwritten: Told[] = [];
  #unwrittenState: { state: IncomingState; told: Told } | undefined;

  /**
   * @param heard called with each thing told, once it is kept as well as it can be
   * @param unwritable called when something could not be written: it is still told while this process lives
   */
  constructor(
    id: string,
    journal: IncomingJournal,
    heard: (told: Told) => void,
    unwritable: (why: string) => void,
  ) {
    this.id = id;
    this.#journal = journal;
    this.#heard = heard;
    this.#unwritable = unwritable;
    this.#told = journal.told(id);
  }

  tell(what: Telling, atMs = nowMs()): void {
    const told = this.#next(what, atMs);
    try {
      this.#journal.tell(this.id, told);
    } catch (error) {
      this.#unwritten.push(told);
      this.#unwritable(reasonOf(error));
    }
    this.#keep(told);
  }

  /**
   * Tells of a new state, which is on disk first.
   * @param must a state that nothing may follow from unless it is on disk
   * @throws what the journal said, if it must
   */
  state(state: IncomingState, reason: string, must: boolean): void {
    const told = this.#next({ kind: 'state', state, reason }, nowMs());
    try {
      this.#journal.setState(this.id, state, told);
      this.#overtake();
    } catch (error) {
      this.#unwritable(reasonOf(error));
      if (must) throw error;
      this.#overtake();
      this.#unwrittenState = { state, told };
    }
    this.#keep(told);
  }

  /** A state that was not written is of the past: only that it was told is still worth writing. */
  #overtake(): void {
    if (this.#unwrittenState !== undefined) this.#unwritten.push(this.#unwrittenState.told);
    this.#unwrittenState = undefined;
  }

  /** Whether something was told that the disk did not take. */
  get behind(): boolean {
    return this.#unwritten.length > 0 || this.#unwrittenState !== undefined;
  }

  /** Writes what the disk did not take. @throws what it says when it still does not; the rest is kept */
  catchUp(): void {
    for (let [told] = this.#unwritten; told !== undefined; [told] = this.#unwritten) {
      this.#journal.tell(this.id, told);
      this.#unwritten.shift();
    }
    if (this.#unwrittenState === undefined) return;
    this.#journal.setState(this.id, this.#unwrittenState.state, this.#unwrittenState.told);
    this.#unwrittenState = undefined;
  }

  after(rev: number): Told[] {
    return this.#told.filter((told) => told.rev > rev);
  }

  /** The last thing told of a kind. */
  last<K extends Telling['kind']>(kind: K): Extract<Telling, { kind: K }> | undefined {
    const is = (what: Telling): what is Extract<Telling, { kind: K }> => what.kind === kind;
    return this.#told.map(({ what }) => what).findLast(is);
  }

  /** What steps of the destination's half are written to. */
  log(): RunLog {
    const emit = (event: MigrationEvent) => {
      if (event.type === 'warning') this.tell({ kind: 'warning', text: event.text });
      if (event.type === 'decision')
        this.tell({ kind: 'decision', action: event.action, reason: event.reason });
    };
    const timeline = new ToldTimeline((what, atMs) => this.tell(what, atMs));
    return { id: this.id, journal: this.#journal, timeline, warnings: [], decisions: [], emit };
  }

  #next(what: Telling, atMs: number): Told {
    return { rev: (this.#told.at(-1)?.rev ?? 0) + 1, atMs, what };
  }

  #keep(told: Told): void {
    this.#told.push(told);
    this.#heard(told);
  }
}
