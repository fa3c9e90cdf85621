/** Performs one migration: the phases in the order of the transition table, the journal, and the way back. */
import { reasonOf, ShadowferryError, toShadowferryError } from '../errors.ts';
import type { Ownership } from '../ownership/store.ts';
import { stopAnswering } from './absence.ts';
import { CarefulJournal } from './careful-journal.ts';
import type { Incoming } from './destination/destination.ts';
import type { MigrationEvent, ProgressEvent } from './events.ts';
import { handBackSurely, handOverSurely } from './hand-over.ts';
import { NOTE } from './history.ts';
import { newId } from './id.ts';
import type { Journal } from './journal.ts';
import { isLastWord } from './last-word.ts';
import { type Ending, type Event, initialState, type Phase, type State, transition } from './machine.ts';
import { type Match, resolveTargets } from './match.ts';
import { attach } from './phases/attach.ts';
import { copy } from './phases/copy.ts';
import { type CopyWatch, keepQuietly } from './phases/copy-watch.ts';
import { detach } from './phases/detach.ts';
import { DiskCopies } from './phases/disks.ts';
import { type Preflight, preflight } from './phases/preflight.ts';
import { handOverFrom, reserve } from './phases/reserve.ts';
import { CLEAN, settle } from './phases/settle.ts';
import { stage } from './phases/stage.ts';
import { switchover } from './phases/switchover.ts';
import type { DestinationPeer } from './protocol/peer.ts';
import { act } from './recovery/act.ts';
import { Looker } from './recovery/look.ts';
import { recoverWith } from './recovery/recover.ts';
import type { MigrationRequest } from './request.ts';
import type { MigrationResult } from './result.ts';
import { type Facts, resultOf } from './result-of.ts';
import { rollBack } from './rollback.ts';
import { type Dependencies, decide, type NicMove, type Run, warn } from './run.ts';
import { Timeline } from './timeline.ts';
import type { RunningVm } from './vm.ts';

/** What a migration ends with; `destinationVm` is connected and owned by the caller when the VM runs there and this process drives it. */
export interface Outcomes {
  result: MigrationResult;
  preflight?: Preflight;
  destinationVm?: RunningVm;
}

class Migration {
  readonly run: Run;
  readonly #journal: CarefulJournal;
  state: State;
  error: ShadowferryError | undefined;
  left: string[] = [];
  facts: Facts & { incoming?: Incoming | undefined; copied?: CopyWatch | undefined; gone?: boolean } = {};

  constructor(run: Run, journal: CarefulJournal) {
    this.run = run;
    this.#journal = journal;
    this.state = initialState(run.request.dryRun);
  }

  /** Takes an event to the next state, on disk before anybody acts on it. */
  move(event: Event): void {
    const { state, reason } = transition(this.state, event);
    this.state = state;
    this.run.journal.setState(this.run.id, state, reason);
  }

  /** Runs one phase if the protocol is there; returns undefined when it is not, or when the phase failed. */
  async phase<T>(name: Phase, act: () => Promise<T>): Promise<T | undefined> {
    const { run } = this;
    if (this.state.kind !== 'running' || this.state.phase !== name) return undefined;
    run.emit({ type: 'phase', atMs: run.timeline.relative(), phase: name, reason: '' });
    try {
      if (!this.state.committed) run.cancel.throwIfAborted();
      const result = await run.timeline.phase(name, act);
      this.move('ok');
      return result;
    } catch (thrown) {
      const error = this.#asError(thrown, name);
      this.error ??= error;
      const gone = this.facts.gone === true;
      run.journal.note(run.id, 'error', `${error.code}: ${error.message}`);
      const cleaned = run.journal.steps(run.id).some((each) => each.name === CLEAN && each.status === 'done');
      const attached = this.facts.attached !== undefined;
      const itsWord = isLastWord({ phase: name, attached, cleaned, gone });
      if (this.#committed && run.peer !== undefined && !itsWord) return undefined;
      if (await this.#handBack()) this.move('handed-back');
      else if (gone && !cleaned && name !== 'switchover' && this.#committed) this.move('lost');
      else this.move(error.code === 'CANCELLED' ? 'cancelled' : 'failed');
      return undefined;
    }
  }

  /** A destination's daemon gives a VM back by itself; without one this process must, and knows whether it may. */
  async #handBack(): Promise<boolean> {
    const { run, facts, state } = this;
    const { incoming, preflight: checked } = facts;
    if (state.kind !== 'running' || !state.committed || state.phase !== 'switchover') return false;
    if (run.peer !== undefined || checked === undefined || !(await incoming?.neverRan?.())) return false;
    decide(run, {
      action: 'hand back',
      reason: `no vCPU of the VM ran on ${run.destination.name}: all of it is on ${run.source.host.name}`,
    });
    return handBackSurely(run.ownership, handOverFrom(run, checked), {
      waiting: (why) => warn(run, `the VM stands still until it is given back: the store says "${why}"`),
    });
  }

  get #committed(): boolean {
    return this.state.kind === 'running' && this.state.committed;
  }

  /** From here on what is in the journal decides, and not what is in memory. */
  leaveJournal(): void {
    this.#journal.leave();
  }

  /** The compare-and-swap of the owner: durable before anything is told to run. */
  async commit(): Promise<Ownership> {
    const { run, facts } = this;
    if (facts.preflight === undefined)
      throw new ShadowferryError('INTERNAL', { why: 'commit before preflight' });
    const handOver = handOverFrom(run, facts.preflight);
    // before the question goes out: whoever finds the journal later must know that it may be on its way
    run.journal.note(run.id, NOTE.asked, `epoch ${handOver.epoch} → ${handOver.destination}`);
    this.#journal.check();
    const owned = await handOverSurely(run.ownership, handOver, {
      waiting: (why) =>
        warn(
          run,
          `the VM stands still until it is known whether it was handed over: the store says "${why}"`,
        ),
    });
    this.#journal.forward();
    this.move('committed');
    run.timeline.mark('commit');
    return owned;
  }

  #asError(thrown: unknown, phase: Phase): ShadowferryError {
    const { cancel } = this.run;
    if (cancel.aborted && !this.#committed)
      return new ShadowferryError('CANCELLED', { phase }, { cause: thrown });
    return toShadowferryError(thrown);
  }
}

async function perform(m: Migration, matches: readonly Match[]): Promise<void> {
  const { run, facts } = m;
  facts.preflight = await m.phase('preflight', () => {
    for (const { nic, target, reason } of matches)
      decide(run, { action: `${nic.id} → ${target.id}`, reason });
    return preflight(run);
  });
  if (facts.preflight === undefined) return;
  const checked = facts.preflight;
  facts.incoming = await m.phase('reserve', () => {
    run.journal.note(run.id, NOTE.handOver, JSON.stringify(handOverFrom(run, checked)));
    return reserve(run, checked);
  });
  if (facts.incoming === undefined) return;
  const { incoming } = facts;
  void incoming.gone.then(() => {
    facts.gone = true;
  });
  const disks = new DiskCopies(run, checked.disks, incoming);
  try {
    facts.staged = await m.phase('stage', async () => {
      await disks.start();
      return stage(run, checked, incoming);
    });
    if (facts.staged === undefined) return;
    const staged = facts.staged;
    await m.phase('detach', () => detach(run, staged));
    facts.copied = await m.phase('copy', () => copy(run, checked, incoming, disks));
    await m.phase('switchover', () => switchover(run, incoming, disks, () => m.commit()));
    await m.phase('attach', async () => {
      const attached = await attach(run, incoming);
      facts.attached = attached;
      for (const error of attached.failed.values()) throw error; // the first; the result tells of each
    });
    run.journal.strict();
    if (m.state.kind === 'running') await stopAll(run);
    facts.settled = await m.phase('settle', () => settle(run, incoming));
  } finally {
    disks.close();
    if (facts.copied !== undefined) keepQuietly(run, facts.copied);
    incoming.close();
  }
}

/** Once more, when all devices are there. */
async function stopAll(run: Run): Promise<void> {
  await Promise.all(
    run.nics.map((move) =>
      stopAnswering(run, move).catch((error: unknown) =>
        warn(run, `a host may still answer for ${move.nic.id}: ${reasonOf(error)}`),
      ),
    ),
  );
}

/** What failed here after the commit is found out and done with the destination's daemon, as after a crash. */
async function takeForward(run: Run, peer: DestinationPeer, journal: Journal): Promise<Ending> {
  const entry = journal.find(run.id);
  if (entry === undefined)
    throw new ShadowferryError('INTERNAL', { why: `migration ${run.id} is not in its journal` });
  const { ownership, abilities, shadows, destination, emit, source } = run;
  const given = {
    ...{ journal, ownership, abilities, shadows, destination, peer, emit, host: source.host },
    signal: new AbortController().signal, // nobody can take it back
  };
  const { result } = await recoverWith(entry, given, { eyes: new Looker(entry, given, source), act });
  run.decisions.push(...result.decisions);
  for (const text of result.warnings) warn(run, text);
  return result.ending;
}

/** Takes what has begun to its end by the table. */
async function conclude(m: Migration, journal: Journal): Promise<Ending> {
  const { run } = m;
  run.journal.strict();
  if (m.state.kind === 'rolling-back') {
    m.left = await rollBack({
      ...run,
      unplugAsked: (nic) => run.timeline.at('traffic left the device', nic) !== undefined,
      leaveAsked: (nic) => run.timeline.at('leave asked', nic) !== undefined,
    });
    m.move(m.left.length === 0 ? 'undone' : 'undo-failed');
  }
  if (m.state.kind === 'running' && m.state.committed && run.peer !== undefined) {
    m.leaveJournal();
    return takeForward(run, run.peer, journal);
  }
  if (m.state.kind !== 'ended')
    throw new ShadowferryError('INTERNAL', { why: `ended in state ${JSON.stringify(m.state)}` });
  return m.state.ending;
}

/**
 * Migrates one VM. Never throws for what happens on the way: the result says how it ended and why.
 * @throws ShadowferryError only when the request itself does not fit (nothing was changed then).
 */
export async function migrateVm(request: MigrationRequest, dependencies: Dependencies): Promise<Outcomes> {
  const { source, destination } = dependencies;
  const matches = await resolveTargets(request, source, destination, dependencies.ownership);
  const nics: NicMove[] = [];
  for (const { nic, target } of matches) {
    const model = await destination.model({
      machine: source.qemu.spec.machine,
      model: target.model,
      field: `devices.${nic.id}`,
      signal: dependencies.cancel,
    });
    nics.push({ nic, target, model });
  }
  const timeline = new Timeline();
  const id = dependencies.id ?? newId('migration');
  const progress: ProgressEvent[] = [];
  const emit = (event: MigrationEvent) => {
    if (event.type === 'progress') progress.push(event);
    dependencies.emit(event);
  };
  const warnings: string[] = [];
  const journal = new CarefulJournal(dependencies.journal, (text) => warn(run, text));
  const run: Run = {
    ...dependencies,
    journal,
    emit,
    id,
    request,
    timeline,
    nics,
    warnings,
    decisions: [],
  };
  const m = new Migration(run, journal);
  const vm = source.qemu.spec.name;
  journal.open({ id, vm, source: source.host.name, destination: destination.name, request, state: m.state });
  const stopListening = source.qemu.monitor.on('STOP', (event) =>
    timeline.mark('vCPUs stopped', event.arrivedMs),
  );
  await perform(m, matches);
  stopListening();
  const ending = await conclude(m, dependencies.journal);
  const result = resultOf({ run, facts: m.facts, ending, error: m.error, progress, left: m.left });
  journal.close(id, ending, result);
  if (journal.behind) dependencies.unwritten?.(() => journal.catchUp());
  const { incoming, preflight: checked } = m.facts;
  const moved = ending === 'completed' || ending === 'degraded' || ending === 'stuck';
  return {
    result,
    ...(checked === undefined ? {} : { preflight: checked }),
    ...(moved && incoming?.vm !== undefined ? { destinationVm: incoming.vm } : {}),
  };
}
