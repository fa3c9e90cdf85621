/** Performs one swap or rescue: the phases in the order of the transition table, the journal, and the way back. */
import { ShadowferryError, toShadowferryError } from '../../errors.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { Outcome } from '../../shadow/net/model.ts';
import type { ReplayPlan } from '../../shadow/net/plan-model.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import { CarefulJournal } from '../careful-journal.ts';
import type { MigrationEvent } from '../events.ts';
import { newId } from '../id.ts';
import type { Journal } from '../journal.ts';
import { type Ending, type Event, initialState, type State } from '../machine.ts';
import { foreseenOutcomes, shadowOutcomes } from '../outcomes.ts';
import type { MigrationResult } from '../result.ts';
import { type Dependencies, warn } from '../run.ts';
import { Timeline } from '../timeline.ts';
import { type SwapPhase, swapTransition } from './machine.ts';
import { attach, detach, preflight, reserve, settle, stage } from './phases.ts';
import type { SwapRequest } from './request.ts';
import { rollBackSwap } from './rollback.ts';
import type { LastKnown, SwapRun } from './run.ts';
import type { SwapSite } from './site.ts';

export interface SwapDependencies {
  /** Of the swap, for who must know it beforehand; a new one when it is left out. */
  id?: string | undefined;
  site: SwapSite;
  journal: Journal;
  /** As for a migration (run.ts). */
  unwritten?: Dependencies['unwritten'];
  abilities: AbilityStore;
  emit: (event: MigrationEvent) => void;
  /** The user's cancel; heeded until traffic is on the new device. */
  cancel: AbortSignal;
  /** Takes in what is captured on the way. */
  shadows?: ShadowStore | undefined;
  /** For a rescue. Without it, what the guest still shows must do. */
  lastKnown?: LastKnown | undefined;
  /** For a rescue that was armed: the plan that the program in the guest has. */
  armed?: ReplayPlan | undefined;
}

class Swap {
  readonly run: SwapRun;
  readonly #journal: CarefulJournal;
  state: State;
  error: ShadowferryError | undefined;
  left: string[] = [];
  outcomes: Outcome[] = [];

  constructor(run: SwapRun, journal: CarefulJournal) {
    this.run = run;
    this.#journal = journal;
    this.state = initialState(run.request.dryRun);
  }

  /** Takes an event to the next state, on disk before anybody acts on it. */
  move(event: Event): void {
    const { state, reason } = swapTransition(this.run.request.kind, this.state, event);
    this.state = state;
    if (state.kind === 'running' && state.committed) this.#journal.forward();
    this.run.journal.setState(this.run.id, state, reason);
  }

  /** Runs one phase if the protocol is there. */
  async phase(name: SwapPhase, act: () => Promise<void>): Promise<void> {
    const { run } = this;
    if (this.state.kind !== 'running' || this.state.phase !== name) return;
    run.emit({ type: 'phase', atMs: run.timeline.relative(), phase: name, reason: '' });
    try {
      if (!this.state.committed) run.cancel.throwIfAborted();
      await run.timeline.phase(name, act);
      this.move('ok');
    } catch (thrown) {
      const cancelled = run.cancel.aborted && !this.state.committed;
      const error = cancelled
        ? new ShadowferryError('CANCELLED', { phase: name }, { cause: thrown })
        : toShadowferryError(thrown);
      this.error ??= error;
      run.journal.note(run.id, 'error', `${error.code}: ${error.message}`);
      this.move(cancelled ? 'cancelled' : 'failed');
    }
  }
}

async function perform(swap: Swap): Promise<void> {
  const { run } = swap;
  await swap.phase('preflight', () => preflight(run));
  await swap.phase('reserve', () => reserve(run));
  await swap.phase('stage', () => stage(run));
  await swap.phase('detach', () => detach(run));
  await swap.phase('attach', () => attach(run));
  await swap.phase('settle', async () => {
    swap.outcomes = await settle(run);
  });
}

/** Takes what has begun to its end by the table. */
async function conclude(swap: Swap): Promise<Ending> {
  swap.run.journal.strict();
  if (swap.state.kind === 'rolling-back') {
    swap.left = await rollBackSwap(swap.run);
    swap.move(swap.left.length === 0 ? 'undone' : 'undo-failed');
  }
  if (swap.state.kind !== 'ended')
    throw new ShadowferryError('INTERNAL', { why: `ended in state ${JSON.stringify(swap.state)}` });
  return swap.state.ending;
}

function resultOf(swap: Swap, ending: Ending): MigrationResult {
  const { run, error } = swap;
  const { site, facts, request } = run;
  const { old, new: target } = site.devices;
  const { shadow, plan } = facts;
  const planned = ending === 'planned' && shadow !== undefined && plan !== undefined;
  const outcomes = planned ? foreseenOutcomes(shadow, plan) : swap.outcomes;
  const driver = facts.after?.hardware?.driver;
  const ok = ending === 'completed' || ending === 'planned';
  const from = { model: old.model, driver: shadow?.hardware?.driver ?? 'unknown' };
  const continuity =
    facts.continuity === undefined ? {} : { continuity: plan?.continuity ?? facts.continuity };
  const told = shadowOutcomes(shadow, outcomes);
  return {
    kind: request.kind,
    id: run.id,
    vm: site.subject,
    source: site.host,
    destination: site.host,
    ending,
    ok,
    from,
    ...(driver === undefined ? {} : { to: { model: target.model, driver } }),
    ...continuity,
    startedAtMs: run.timeline.startedAtMs,
    totalMs: run.timeline.relative(),
    blackoutMs: null,
    qemuDowntimeMs: null,
    memoryBytes: 0,
    phases: run.timeline.phases,
    steps: run.timeline.steps,
    marks: run.timeline.marks.toSorted((a, b) => a.atMs - b.atMs),
    progress: [],
    decisions: run.decisions,
    warnings: run.warnings,
    shadow: told,
    nics: [
      {
        nic: site.nic,
        mac: target.identity.mac,
        ok,
        from: { ...from, device: old.id },
        to: { device: target.id, model: target.model, driver: driver ?? null },
        ...continuity,
        shadow: told,
        ...(facts.persisted === undefined ? {} : { persisted: facts.persisted }),
      },
    ],
    ...(error === undefined ? {} : { error: { code: error.code, message: error.message, fix: error.fix } }),
    left: swap.left,
  };
}

/**
 * Puts another device of the same host behind an interface. Never throws for what happens on the way: the result says
 * how it ended and why.
 */
export async function swapDevice(
  request: SwapRequest,
  dependencies: SwapDependencies,
): Promise<MigrationResult> {
  const { site, abilities, shadows, emit, cancel, lastKnown, armed } = dependencies;
  const id = dependencies.id ?? newId(request.kind);
  const warnings: string[] = [];
  const journal = new CarefulJournal(dependencies.journal, (text) => warn(run, text));
  const run: SwapRun = {
    ...{ id, journal, abilities, shadows, emit, cancel, request, site, lastKnown, armed },
    timeline: new Timeline(),
    warnings,
    decisions: [],
    facts: {},
  };
  const swap = new Swap(run, journal);
  const { subject: vm, host } = site;
  journal.open({ id, vm, source: host, destination: host, request, state: swap.state });
  await perform(swap);
  const ending = await conclude(swap);
  const result = resultOf(swap, ending);
  journal.close(id, ending, result);
  if (journal.behind) dependencies.unwritten?.(() => journal.catchUp());
  return result;
}
