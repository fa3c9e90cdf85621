/**
 * Takes a migration that a dead process left open to its end: looks, takes the first row of the table that fits, does
 * it, and looks again. The table is the one that the model checker explores.
 */

import { nowMs } from '../../base/clock.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf } from '../../errors.ts';
import type { MigrationEvent } from '../events.ts';
import type { JournalMigration } from '../journal.ts';
import { type Event, type State, transition } from '../machine.ts';
import { PROTOCOL_MS } from '../protocol/messages.ts';
import { recoverSource, type SourceDecision, type SourceFacts } from '../protocol/source-recovery.ts';
import type { RunLog } from '../run.ts';
import { swapOf } from '../swap/history.ts';
import { Timeline } from '../timeline.ts';
import { type Acting, act, undoSteps } from './act.ts';
import { type Eyes, isOpen, Looker } from './look.ts';
import type { Recovered, RecoverMigration, RecoveryDependencies } from './model.ts';
import { phaseOf, recoveredResult } from './result.ts';
import { recoverSwap } from './swap.ts';

/** Kind of the notes that tell of a recovery. */
const RECOVERY = 'recovery';
/** Between two looks when something was done, ms. */
const SOON_MS = 20;

class Recovery {
  readonly #entry: JournalMigration;
  readonly #deps: RecoveryDependencies;
  readonly #looker: Eyes;
  readonly #act: typeof act;
  readonly #log: RunLog;
  readonly #before: State;
  readonly #left: string[] = [];
  #told = '';

  constructor(entry: JournalMigration, deps: RecoveryDependencies, hands: Hands) {
    this.#entry = entry;
    this.#deps = deps;
    this.#looker = hands.eyes;
    this.#act = hands.act;
    this.#before = this.#looker.state;
    const timeline = new Timeline();
    const { journal } = deps;
    const emit = (event: MigrationEvent) => deps.emit(event);
    this.#log = { id: entry.id, journal, timeline, warnings: [], decisions: [], emit };
  }

  async run(): Promise<Recovered> {
    const { journal, signal } = this.#deps;
    journal.strict();
    this.#note(`found open in ${phaseOf(this.#before)}`);
    try {
      while (this.#looker.state.kind !== 'ended') {
        signal.throwIfAborted();
        await pauseFor(await this.#once(), signal);
      }
      signal.throwIfAborted();
      return await this.#close();
    } catch (error) {
      await this.#looker.lose();
      throw error;
    }
  }

  /** @returns how long to wait until the next look, ms */
  async #once(): Promise<number> {
    const { handOver } = this.#looker;
    try {
      if (handOver === undefined) {
        this.#untouched();
        return 0;
      }
      const facts = await this.#looker.look(handOver);
      const decision = recoverSource(facts);
      const fresh = this.#tell(decision, facts);
      const acting = { looker: this.#looker, deps: this.#deps, log: this.#log, handOver, left: this.#left };
      if (decision.action !== 'note') {
        await this.#act(decision.action, acting);
        // what was done and must be done again was not enough: somebody else has to do something
        const waiting = decision.action === 'wait' || decision.action === 'ask-operator' || !fresh;
        return waiting ? PROTOCOL_MS.look : SOON_MS;
      }
      await this.#take(decision.event, decision.reason, acting);
      return 0;
    } catch (error) {
      this.#deps.signal.throwIfAborted();
      this.#warn(`it is tried again: ${reasonOf(error)}`);
      return PROTOCOL_MS.look;
    }
  }

  /** Nothing was touched before the hand-over was written down. */
  #untouched(): void {
    for (const event of ['failed', 'undone'] as const) this.#move(event, 'nothing was touched yet');
  }

  async #take(event: Event, reason: string, acting: Acting): Promise<void> {
    // what is not about the guest, or could not be done without one, before it is said that all is as it was
    if ((event === 'undone' || event === 'undo-failed') && this.#looker.steps.some(isOpen))
      await undoSteps(acting);
    if (event === 'undone' && this.#left.length > 0) return this.#move('undo-failed', this.#left.join('; '));
    this.#move(event, reason);
  }

  #move(event: Event, why: string): void {
    const { state, reason } = transition(this.#looker.state, event);
    this.#deps.journal.setState(this.#entry.id, state, `${reason} (${why})`);
  }

  #note(text: string): void {
    this.#deps.journal.note(this.#entry.id, RECOVERY, text);
  }

  /** Each decision once, until another is made. @returns whether it is another one */
  #tell(decision: SourceDecision, { peer }: SourceFacts): boolean {
    const action = decision.action === 'note' ? `note ${decision.event}` : decision.action;
    const silent = decision.action === 'wait' && peer.kind === 'unreachable';
    const reason = silent ? `${decision.reason}; ${this.#looker.peerWhy}` : decision.reason;
    if (this.#told === `${action}: ${reason}`) return false;
    this.#told = `${action}: ${reason}`;
    this.#note(this.#told);
    const atMs = this.#log.timeline.relative(nowMs());
    this.#log.decisions.push({ atMs, action, reason });
    this.#deps.emit({ type: 'decision', atMs, action, reason });
    return true;
  }

  #warn(text: string): void {
    if (this.#log.warnings.includes(text)) return;
    this.#log.warnings.push(text);
    this.#deps.emit({ type: 'warning', atMs: this.#log.timeline.relative(), text });
  }

  async #close(): Promise<Recovered> {
    const { journal } = this.#deps;
    const { state } = this.#looker;
    if (state.kind !== 'ended') throw new RangeError(`closed in state ${state.kind}`);
    const vm = await this.#looker.find();
    const { decisions, warnings } = this.#log;
    const result = recoveredResult(journal, {
      ...{ entry: this.#entry, before: this.#before, ending: state.ending, left: this.#left },
      ...{ spec: vm?.qemu.spec, decisions, warnings },
    });
    journal.close(this.#entry.id, state.ending, result);
    return { result, ...(vm === undefined ? {} : { vm }) };
  }
}

/** What looks and acts: QEMU, the store and the destination, or what stands for them in a test. */
export interface Hands {
  eyes: Eyes;
  act: typeof act;
}

/** @throws what `signal` was aborted with */
export function recoverWith(
  entry: JournalMigration,
  dependencies: RecoveryDependencies,
  hands: Hands,
): Promise<Recovered> {
  return new Recovery(entry, dependencies, hands).run();
}

export const recoverMigration: RecoverMigration = (entry, dependencies) =>
  swapOf(entry) === undefined
    ? recoverWith(entry, dependencies, { eyes: new Looker(entry, dependencies), act })
    : recoverSwap(entry, dependencies);
