/**
 * The journal as one run writes it, when its disk may be full. Until the commit what cannot be written does not happen:
 * the run goes back, by what is in memory too. From then on, and on the way back, there is no better way than on: what
 * cannot be written is told and kept, to be written when there is room again; whoever finds the journal before that goes
 * by the record.
 */
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { Journal, JournalStep } from './journal.ts';

/** What a run needs of its journal. */
export type RunJournal = Pick<
  Journal,
  'open' | 'begin' | 'end' | 'note' | 'setState' | 'close' | 'steps' | 'relax' | 'strict'
>;

export class CarefulJournal implements RunJournal {
  readonly #journal: RunJournal;
  readonly #tell: (text: string) => void;
  readonly #steps: JournalStep[] = [];
  /** What the disk did not take and is true all the same, in its order. */
  readonly #unwritten: (() => void)[] = [];
  /** Numbers of steps that were known here before they could be written. */
  readonly #numbers = new Map<number, number>();
  #must = true;
  #failed: ShadowferryError<'JOURNAL_UNWRITABLE'> | undefined;

  /** @param tell told once, when something could not be written and the run goes on */
  constructor(journal: RunJournal, tell: (text: string) => void) {
    this.#journal = journal;
    this.#tell = tell;
  }

  /** From here on there is no way back: nothing waits for the journal any more. */
  forward(): void {
    this.#must = false;
  }

  /** Before what cannot be taken back. @throws JOURNAL_UNWRITABLE when something was not written */
  check(): void {
    if (this.#failed !== undefined) throw this.#failed;
  }

  /** @throws JOURNAL_UNWRITABLE: nothing has begun then */
  open(...args: Parameters<RunJournal['open']>): void {
    this.#write(() => this.#journal.open(...args));
  }

  begin(...args: Parameters<RunJournal['begin']>): number {
    const [, phase, name, undo] = args;
    const own = -1 - this.#steps.length; // of no other step, also when there is room again
    const seq =
      this.#write(() => {
        const written = this.#journal.begin(...args);
        this.#numbers.set(own, written);
        return written;
      }) ?? own;
    const times = { begun: Date.now(), ended: null };
    this.#steps.push({ seq, phase, name, status: 'begun', undo: [...undo], detail: null, ...times });
    return seq;
  }

  end(...args: Parameters<RunJournal['end']>): void {
    const [migration, seq, status, detail] = args;
    const step = this.#steps.find((each) => each.seq === seq);
    if (step !== undefined) {
      step.status = status;
      step.detail = detail === undefined ? null : JSON.stringify(detail);
      step.ended = Date.now();
    }
    this.#write(() => this.#journal.end(migration, this.#numbers.get(seq) ?? seq, status, detail));
  }

  note(...args: Parameters<RunJournal['note']>): void {
    this.#write(() => this.#journal.note(...args));
  }

  setState(...args: Parameters<RunJournal['setState']>): void {
    this.#write(() => this.#journal.setState(...args));
  }

  close(...args: Parameters<RunJournal['close']>): void {
    this.#must = false;
    this.#write(() => this.#journal.close(...args));
  }

  /** As they happened, whether they could be written or not. */
  steps(_migration: string): JournalStep[] {
    return this.#steps.map((step) => ({ ...step }));
  }

  relax(): void {
    this.#write(() => this.#journal.relax(), false);
  }

  strict(): void {
    this.#write(() => this.#journal.strict(), false);
  }

  /** Whether something is kept that the disk did not take. */
  get behind(): boolean {
    return this.#unwritten.length > 0;
  }

  /** Writes what the disk did not take. @throws what it says when it still does not; the rest is kept */
  catchUp(): void {
    for (let [write] = this.#unwritten; write !== undefined; [write] = this.#unwritten) {
      write();
      this.#unwritten.shift();
    }
  }

  /** Another one writes into the journal from here on, by what it finds there: what it does not have is not added. */
  leave(): void {
    this.#unwritten.length = 0;
  }

  /** The first failure before the commit is thrown; what follows it is the way back, which must not stop. */
  #write<T>(write: () => T, keep = true): T | undefined {
    try {
      this.catchUp();
      return write();
    } catch (error) {
      const first = this.#failed === undefined;
      this.#failed ??= new ShadowferryError('JOURNAL_UNWRITABLE', { why: reasonOf(error) }, { cause: error });
      if (first && this.#must) throw this.#failed;
      if (keep) this.#unwritten.push(() => void write());
      if (first || !this.#must) this.#tellOnce(this.#failed.message);
      return undefined;
    }
  }

  #told = false;
  #tellOnce(text: string): void {
    if (this.#told) return;
    this.#told = true;
    this.#tell(text);
  }
}
