/** Makes the finished result of a migration from what its phases found. Pure. */
import type { ShadowferryError } from '../errors.ts';
import type { Attached } from './destination/destination.ts';
import type { ProgressEvent } from './events.ts';
import type { Ending } from './machine.ts';
import { foreseenOutcomes, shadowOutcomes } from './outcomes.ts';
import { leastContinuity, type Preflight } from './phases/preflight.ts';
import type { Settled } from './phases/settle.ts';
import type { Staged } from './phases/stage.ts';
import type { DeviceName, MigrationResult, NicResult, ResultError, ShadowResult } from './result.ts';
import type { NicMove, Run } from './run.ts';
import type { Timeline } from './timeline.ts';

/** What the phases have left, as far as they came. */
export interface Facts {
  preflight?: Preflight | undefined;
  staged?: Staged | undefined;
  attached?: Attached | undefined;
  settled?: Settled | undefined;
}

export interface Ended {
  run: Run;
  facts: Facts;
  ending: Ending;
  error: ShadowferryError | undefined;
  progress: ProgressEvent[];
  left: string[];
}

function blackout(timeline: Timeline): number | null {
  const stopped = timeline.marks.findLast(({ name }) => name === 'vCPUs stopped')?.atMs;
  const resumed = timeline.marks.findLast(({ name }) => name === 'vCPUs run')?.atMs;
  return stopped === undefined || resumed === undefined ? null : resumed - stopped;
}

const told = ({ code, message, fix }: ShadowferryError): ResultError => ({ code, message, fix });

function nicResult({ facts, ending }: Ended, { nic, target }: NicMove): NicResult {
  const { id } = nic;
  const checked = facts.preflight?.nics.find((each) => each.move.nic.id === id);
  const staged = facts.staged?.nics.find((each) => each.move.nic.id === id);
  const settled = facts.settled?.nics.get(id);
  const error = facts.attached?.failed.get(id);
  const shadow = staged?.shadow ?? checked?.shadow;
  const foreseen = ending === 'planned' && checked ? foreseenOutcomes(checked.shadow, checked.plan) : [];
  const outcomes = settled?.outcomes ?? foreseen;
  const continuity = staged?.plan.continuity ?? checked?.plan.continuity;
  return {
    nic: id,
    mac: nic.mac,
    network: nic.network,
    ok: settled !== undefined || ending === 'planned',
    from: { ...nic.direct, driver: shadow?.hardware?.driver ?? 'unknown' },
    to: { device: target.id, model: target.model, driver: settled?.after.hardware?.driver ?? null },
    ...(continuity === undefined ? {} : { continuity }),
    shadow: shadowOutcomes(shadow, outcomes),
    ...(settled?.persisted === undefined ? {} : { persisted: settled.persisted }),
    ...(error === undefined ? {} : { error: told(error) }),
  };
}

/** The shadows of all NICs as one; an outcome names its NIC where there are several. */
function sumOf(nics: readonly NicResult[]): ShadowResult {
  const several = nics.length > 1;
  const all = <O extends object>(of: (shadow: ShadowResult) => readonly O[]) =>
    nics.flatMap(({ nic, shadow }) => of(shadow).map((outcome) => (several ? { nic, ...outcome } : outcome)));
  return {
    captured: nics.reduce((sum, { shadow }) => sum + shadow.captured, 0),
    restored: all(({ restored }) => restored),
    adapted: all(({ adapted }) => adapted),
    lost: all(({ lost }) => lost),
  };
}

const joined = (devices: readonly DeviceName[]): DeviceName => ({
  model: devices.map(({ model }) => model).join(', '),
  driver: devices.map(({ driver }) => driver).join(', '),
});

export function resultOf(ended: Ended): MigrationResult {
  const { run, facts, ending, error, left } = ended;
  const nics = run.nics.map((move) => nicResult(ended, move));
  const checked = facts.preflight;
  const modes = nics.flatMap(({ continuity }) => (continuity === undefined ? [] : [continuity]));
  const attached = nics.flatMap(({ to: { model, driver } }) => (driver === null ? [] : [{ model, driver }]));
  const memory = facts.settled?.memory;
  const postcopy =
    checked?.strategy === 'postcopy' || run.decisions.some(({ action }) => action === 'postcopy');
  return {
    id: run.id,
    vm: run.source.qemu.spec.name,
    source: run.source.host.name,
    destination: run.destination.name,
    ending,
    ok: ending === 'completed' || ending === 'planned',
    from: joined(nics.map(({ from }) => from)),
    ...(attached.length === 0 ? {} : { to: joined(attached) }),
    ...(modes.length === 0 ? {} : { continuity: leastContinuity(modes) }),
    ...(checked === undefined ? {} : { strategy: postcopy ? 'postcopy' : 'precopy' }),
    startedAtMs: run.timeline.startedAtMs,
    totalMs: run.timeline.relative(),
    blackoutMs: blackout(run.timeline),
    qemuDowntimeMs: memory?.downtime ?? null,
    memoryBytes:
      memory?.ram?.transferred ?? ended.progress.findLast(({ of }) => of === undefined)?.transferred ?? 0,
    phases: run.timeline.phases,
    steps: run.timeline.steps,
    marks: run.timeline.marks.toSorted((a, b) => a.atMs - b.atMs),
    progress: ended.progress,
    decisions: run.decisions,
    warnings: run.warnings,
    shadow: sumOf(nics),
    nics,
    ...(error === undefined ? {} : { error: told(error) }),
    left,
  };
}
