/** What the phases of one migration share. */
import { deadline } from '../base/deadline.ts';
import type { Host, HostDevice } from '../host/host.ts';
import type { ModelIdentity } from '../hypervisor/qemu/pci.ts';
import type { NicSpec } from '../hypervisor/qemu/spec.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import type { AbilityStore } from '../shadow/net/abilities.ts';
import type { MigrationEvent } from './events.ts';
import type { Journal } from './journal.ts';
import type { Phase } from './machine.ts';
import type { MigrationRequest } from './request.ts';
import type { Timeline } from './timeline.ts';
import type { Undo } from './undo.ts';
import type { RunningVm } from './vm.ts';

/** What the engine is given to work with. */
export interface Dependencies {
  journal: Journal;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  source: RunningVm;
  destination: Host;
  emit: (event: MigrationEvent) => void;
  /** The user's cancel; heeded before the commit, ignored after it. */
  cancel: AbortSignal;
  /** Asked at `pre-switchover`, with the source paused; resolves to go on. */
  confirm?: (() => Promise<void>) | undefined;
}

/** Where what happens in one run is written: what `step`, `decide` and `warn` need. */
export interface RunLog {
  readonly id: string;
  readonly journal: Journal;
  readonly timeline: Timeline;
  readonly warnings: string[];
  readonly decisions: { atMs: number; action: string; reason: string }[];
  readonly emit: (event: MigrationEvent) => void;
}

export interface Run extends Dependencies, RunLog {
  readonly emit: (event: MigrationEvent) => void;
  readonly journal: Journal;
  readonly request: MigrationRequest;
  /** The direct NIC that moves, and the destination's device for it. */
  readonly nic: NicSpec & { direct: NonNullable<NicSpec['direct']> };
  readonly target: HostDevice;
  readonly model: ModelIdentity;
}

/** Directory of the replay program of one NIC in the guest. */
export function programDirectory(nic: string): string {
  return `/run/shadowferry/${nic}`;
}

/**
 * Performs one step: journalled with its undo before it acts, timed, and closed in the journal when it ends.
 * `critical` marks what traffic waits for; such steps keep the journal's fsync off the path by `quick`.
 */
export async function step<T>(
  run: RunLog,
  phase: Phase,
  name: string,
  options: { undo?: readonly Undo[]; critical?: boolean },
  act: () => Promise<T>,
): Promise<T> {
  const seq = run.journal.begin(run.id, phase, name, options.undo ?? []);
  try {
    const result = await run.timeline.step(phase, name, options.critical ?? false, act);
    run.journal.end(run.id, seq, 'done');
    return result;
  } catch (error) {
    run.journal.end(run.id, seq, 'failed', { error: error instanceof Error ? error.message : String(error) });
    throw error;
  }
}

/** Records a decision with its reason, for the user and the journal. */
export function decide(run: RunLog, decision: { action: string; reason: string }): void {
  run.decisions.push({ atMs: run.timeline.relative(), ...decision });
  run.journal.note(run.id, 'decision', `${decision.action}: ${decision.reason}`);
  run.emit({ type: 'decision', atMs: run.timeline.relative(), ...decision });
}

export function warn(run: RunLog, text: string): void {
  run.warnings.push(text);
  run.emit({ type: 'warning', atMs: run.timeline.relative(), text });
}

/** One deadline for one wait before the commit: ends with the user's cancel too. */
export function waitBefore(run: Pick<Run, 'cancel'>, what: string, ms: number): AbortSignal {
  return deadline(what, ms, run.cancel);
}

/** One deadline for one wait after the commit, which nobody can cancel. */
export function waitAfter(what: string, ms: number): AbortSignal {
  return deadline(what, ms);
}
