/**
 * The journal as one run writes it, when its disk may be full. Until the commit what cannot be written does not happen:
 * the run goes back, by what is in memory too. From then on, and on the way back, there is no better way than on: what
 * cannot be written is told, and whoever finds the journal later goes by the record.
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
    const written = this.#write(() => this.#journal.begin(...args));
    const seq = written ?? -1 - this.#steps.length; // of no other step, also when there is room again
    const times = { begun: Date.now(), ended: null };
    this.#steps.push({ seq, phase, name, status: 'begun', undo: [...undo], detail: null, ...times });
    return seq;
  }

  end(...args: Parameters<RunJournal['end']>): void {
    const [, seq, status, detail] = args;
    const step = this.#steps.find((each) => each.seq === seq);
    if (step !== undefined) {
      step.status = status;
      step.detail = detail === undefined ? null : JSON.stringify(detail);
      step.ended = Date.now();
    }
    this.#write(() => this.#journal.end(...args));
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
    this.#write(() => this.#journal.relax());
  }

  strict(): void {
    this.#write(() => this.#journal.strict());
  }

  /** The first failure before the commit is thrown; what follows it is the way back, which must not stop. */
  #write<T>(write: () => T): T | undefined {
    try {
      return write();
    } catch (error) {
      const first = this.#failed === undefined;
      this.#failed ??= new ShadowferryError('JOURNAL_UNWRITABLE', { why: reasonOf(error) }, { cause: error });
      if (first && this.#must) throw this.#failed;
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
