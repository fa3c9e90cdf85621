/** Performs one migration: the phases in the order of the transition table, the journal, and the way back. */
import { randomBytes } from 'node:crypto';
import { ShadowferryError, toShadowferryError } from '../errors.ts';
import { modelIdentity } from '../hypervisor/qemu/pci.ts';
import { stopAnswering } from './absence.ts';
import type { MigrationEvent, ProgressEvent } from './events.ts';
import { type Ending, type Event, initialState, type Phase, type State, transition } from './machine.ts';
import { resolveTarget } from './match.ts';
import { foreseenOutcomes, shadowOutcomes } from './outcomes.ts';
import { attachWithRetries, type Replayed } from './phases/attach.ts';
import { copy } from './phases/copy.ts';
import { detach } from './phases/detach.ts';
import { type Preflight, preflight } from './phases/preflight.ts';
import { type Reserved, reserve } from './phases/reserve.ts';
import { type Settled, settle } from './phases/settle.ts';
import { type Staged, stage } from './phases/stage.ts';
import { switchover } from './phases/switchover.ts';
import type { MigrationRequest } from './request.ts';
import type { MigrationResult } from './result.ts';
import { rollBack } from './rollback.ts';
import { type Dependencies, type Run, step, warn } from './run.ts';
import { Timeline } from './timeline.ts';
import type { RunningVm } from './vm.ts';

/** What a migration ends with; `destinationVm` is connected and owned by the caller when the VM runs there. */
export interface Outcomes {
  result: MigrationResult;
  preflight?: Preflight;
  destinationVm?: RunningVm;
}

class Migration {
  readonly run: Run;
  readonly progress: ProgressEvent[] = [];
  state: State;
  error: ShadowferryError | undefined;
  left: string[] = [];
  facts: {
    preflight?: Preflight | undefined;
    reserved?: Reserved | undefined;
    staged?: Staged | undefined;
    replayed?: Replayed | undefined;
    settled?: Settled | undefined;
  } = {};

  constructor(run: Run) {
    this.run = run;
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
      run.journal.note(run.id, 'error', `${error.code}: ${error.message}`);
      this.move(error.code === 'CANCELLED' ? 'cancelled' : 'failed');
      return undefined;
    }
  }

  /** The compare-and-swap of the owner: durable before anything is told to run. */
  async commit(): Promise<void> {
    const { run, facts } = this;
    if (facts.preflight === undefined)
      throw new ShadowferryError('INTERNAL', { why: 'commit before preflight' });
    await run.ownership.handOver(facts.preflight.owned, run.destination.name);
    this.move('committed');
    run.timeline.mark('commit');
  }

  #asError(thrown: unknown, phase: Phase): ShadowferryError {
    const { cancel } = this.run;
    const committed = this.state.kind === 'running' && this.state.committed;
    if (cancel.aborted && !committed) return new ShadowferryError('CANCELLED', { phase }, { cause: thrown });
    return toShadowferryError(thrown);
  }
}

async function perform(m: Migration): Promise<void> {
  const { run, facts } = m;
  facts.preflight = await m.phase('preflight', () => preflight(run));
  if (facts.preflight === undefined) return;
  const checked = facts.preflight;
  facts.reserved = await m.phase('reserve', () => reserve(run, checked));
  if (facts.reserved === undefined) return;
  const reserved = facts.reserved;
  const stopListening = reserved.vm.qemu.monitor.on('RESUME', (event) =>
    run.timeline.mark('vCPUs run', event.arrivedMs),
  );
  try {
    facts.staged = await m.phase('stage', () => stage(run, checked));
    if (facts.staged === undefined) return;
    const staged = facts.staged;
    await m.phase('detach', () => detach(run, staged));
    await m.phase('copy', () => copy(run, checked, reserved));
    await m.phase('switchover', () => switchover(run, checked, reserved, () => m.commit()));
    facts.replayed = await m.phase('attach', () =>
      step(run, 'attach', 'plug and replay', { critical: staged.plan.continuity !== 'bridge' }, () =>
        attachWithRetries({
          vm: reserved.vm,
          nic: run.nic,
          model: run.target.model,
          continuity: staged.plan.continuity,
          waitMs: run.request.limits.attachMs,
          tries: run.request.limits.attachTries,
          mark: (name, at) => run.timeline.mark(name, at),
          onRetry: (reason) => warn(run, reason),
          onCarrier: () => void stopAnswering(run).catch(() => {}), // and once more below
        }),
      ),
    );
    run.journal.strict();
    if (m.state.kind === 'running') await stopAnswering(run);
    facts.settled = await m.phase('settle', () =>
      settle(run, { preflight: checked, reserved, staged, replayed: facts.replayed }),
    );
  } finally {
    stopListening();
  }
}

function blackout(timeline: Timeline): number | null {
  const stopped = timeline.marks.findLast(({ name }) => name === 'vCPUs stopped')?.atMs;
  const resumed = timeline.marks.findLast(({ name }) => name === 'vCPUs run')?.atMs;
  return stopped === undefined || resumed === undefined ? null : resumed - stopped;
}

function resultOf(m: Migration, ending: Ending): MigrationResult {
  const { run, facts, error } = m;
  const { preflight: checked, staged, settled } = facts;
  const shadow = staged?.shadow ?? checked?.shadow;
  const outcomes =
    settled?.outcomes ??
    (ending === 'planned' && checked ? foreseenOutcomes(checked.shadow, checked.plan) : []);
  const after = settled?.after?.hardware;
  const postcopy =
    checked?.strategy === 'postcopy' || run.decisions.some(({ action }) => action === 'postcopy');
  return {
    id: run.id,
    vm: run.source.qemu.spec.name,
    source: run.source.host.name,
    destination: run.destination.name,
    ending,
    ok: ending === 'completed' || ending === 'planned',
    from: { model: run.nic.direct.model, driver: shadow?.hardware?.driver ?? 'unknown' },
    ...(after === undefined ? {} : { to: { model: run.target.model, driver: after.driver } }),
    ...(checked === undefined ? {} : { continuity: staged?.plan.continuity ?? checked.plan.continuity }),
    ...(checked === undefined ? {} : { strategy: postcopy ? 'postcopy' : 'precopy' }),
    startedAtMs: run.timeline.startedAtMs,
    totalMs: run.timeline.relative(),
    blackoutMs: blackout(run.timeline),
    qemuDowntimeMs: settled?.memory.downtime ?? null,
    memoryBytes: settled?.memory.ram?.transferred ?? m.progress.at(-1)?.transferred ?? 0,
    phases: run.timeline.phases,
    steps: run.timeline.steps,
    marks: run.timeline.marks.toSorted((a, b) => a.atMs - b.atMs),
    progress: m.progress,
    decisions: run.decisions,
    warnings: run.warnings,
    shadow: shadowOutcomes(shadow, outcomes),
    ...(error === undefined ? {} : { error: { code: error.code, message: error.message, fix: error.fix } }),
    left: m.left,
  };
}

/** Takes what has begun to its end by the table, and closes the journal. */
async function conclude(m: Migration): Promise<Ending> {
  const { run } = m;
  run.journal.strict();
  if (m.state.kind === 'rolling-back') {
    m.left = await rollBack(run, m.facts.reserved?.vm);
    m.move(m.left.length === 0 ? 'undone' : 'undo-failed');
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
  const { source, destination, journal } = dependencies;
  const { nic, target } = await resolveTarget(request, source, destination, dependencies.ownership);
  const model = await modelIdentity({
    binary: destination.qemu.binary,
    machine: source.qemu.spec.machine,
    model: target.model,
    field: `devices.${nic.id}`,
    signal: dependencies.cancel,
  });
  const timeline = new Timeline();
  const id = `m${Date.now().toString(36)}${randomBytes(3).toString('hex')}`;
  const progress: ProgressEvent[] = [];
  const emit = (event: MigrationEvent) => {
    if (event.type === 'progress') progress.push(event);
    dependencies.emit(event);
  };
  const run: Run = {
    ...dependencies,
    emit,
    id,
    request,
    timeline,
    nic,
    target,
    model,
    warnings: [],
    decisions: [],
  };
  const m = new Migration(run);
  const vm = source.qemu.spec.name;
  journal.open({ id, vm, source: source.host.name, destination: destination.name, request, state: m.state });
  const stopListening = source.qemu.monitor.on('STOP', (event) =>
    timeline.mark('vCPUs stopped', event.arrivedMs),
  );
  await perform(m);
  stopListening();
  const ending = await conclude(m);
  m.progress.push(...progress);
  const result = resultOf(m, ending);
  journal.close(id, ending, result);
  const { reserved, preflight: checked } = m.facts;
  const moved = ending === 'completed' || ending === 'degraded' || ending === 'stuck';
  return {
    result,
    ...(checked === undefined ? {} : { preflight: checked }),
    ...(moved && reserved !== undefined ? { destinationVm: reserved.vm } : {}),
  };
}
