/** What the phases of one migration share. */
import { deadline } from '../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { HostDevice } from '../host/host.ts';
import type { ModelIdentity } from '../hypervisor/qemu/pci.ts';
import type { DirectNic } from '../hypervisor/qemu/spec.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import type { AbilityStore } from '../shadow/net/abilities.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import type { SeenBy, ShadowStore } from '../shadow/store/store.ts';
import type { RunJournal } from './careful-journal.ts';
import type { DestinationHost } from './destination/destination.ts';
import type { MigrationEvent } from './events.ts';
import type { Journal, StepJournal } from './journal.ts';
import type { Phase } from './machine.ts';
import type { DestinationPeer } from './protocol/peer.ts';
import type { MigrationRequest } from './request.ts';
import type { Timeline } from './timeline.ts';
import type { Undo } from './undo.ts';
import type { RunningVm } from './vm.ts';

/** What the engine is given to work with. */
export interface Dependencies {
  /** Of the migration, for who must know it beforehand; a new one when it is left out. */
  id?: string | undefined;
  journal: Journal;
  /**
   * Told in the end when the journal's disk did not take all: what is given writes the rest, and throws as long as it
   * cannot. Without it the migration stays open in the journal.
   */
  unwritten?: ((catchUp: () => void) => void) | undefined;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  /** Where the shadows that are captured on the way are kept; they are not when it is left out. */
  shadows?: ShadowStore | undefined;
  source: RunningVm;
  destination: DestinationHost;
  /**
   * The destination's daemon, where there is one: it goes on by itself, so that what fails here after the commit is taken
   * to its end with it. Without it such a migration ends stuck.
   */
  peer?: DestinationPeer | undefined;
  emit: (event: MigrationEvent) => void;
  /** The user's cancel; heeded before the commit, ignored after it. */
  cancel: AbortSignal;
  /** Asked at `pre-switchover`, with the source paused; resolves to go on. */
  confirm?: (() => Promise<void>) | undefined;
}

/** One direct NIC that moves. The VM's other NICs move with the VM, and nothing is done to them. */
export interface NicMove {
  readonly nic: DirectNic;
  /** The destination's device for it. */
  readonly target: HostDevice;
  readonly model: ModelIdentity;
}

/** Where what happens in one run is written: what `step`, `decide` and `warn` need. */
export interface RunLog {
  readonly id: string;
  readonly journal: StepJournal;
  readonly timeline: Timeline;
  readonly warnings: string[];
  readonly decisions: { atMs: number; action: string; reason: string }[];
  readonly emit: (event: MigrationEvent) => void;
}

export interface Run extends Omit<Dependencies, 'journal'>, RunLog {
  readonly id: string;
  readonly emit: (event: MigrationEvent) => void;
  readonly journal: RunJournal;
  readonly request: MigrationRequest;
  /** Every direct NIC of the VM, in the order of its spec; at least one. */
  readonly nics: readonly NicMove[];
}

/** The move of a NIC by its id. @throws INTERNAL when it does not move */
export function moveOf<M extends { readonly nic: Pick<DirectNic, 'id'> }>(
  { nics }: { readonly nics: readonly M[] },
  nic: string,
): M {
  const found = nics.find((move) => move.nic.id === nic);
  if (found === undefined) throw new ShadowferryError('INTERNAL', { why: `NIC "${nic}" does not move` });
  return found;
}

/** A step's name as the journal holds it: of one NIC among several it names the NIC. */
export function nicStepName(name: string, nic: string, several: boolean): string {
  return several ? `${name}: ${nic}` : name;
}

/** What names a NIC where there are several. */
type NicsLog = RunLog & { readonly nics: readonly unknown[] };

/** `step` for one NIC. */
export function nicStep<T>(
  run: NicsLog,
  { nic }: Pick<NicMove, 'nic'>,
  phase: Phase,
  name: string,
  options: StepOptions,
  act: () => Promise<T>,
): Promise<T> {
  return step(run, phase, nicStepName(name, nic.id, run.nics.length > 1), options, act);
}

/** A mark of one NIC, which it names where there are several. */
export function nicMark(run: NicsLog, { nic }: Pick<NicMove, 'nic'>, name: string, epochMs?: number): void {
  run.timeline.mark(name, epochMs, run.nics.length > 1 ? nic.id : undefined);
}

/** Directory of the replay program of one NIC in the guest. */
export function programDirectory(nic: string): string {
  return `/run/shadowferry/${nic}`;
}

export interface StepOptions {
  undo?: readonly Undo[];
  critical?: boolean;
}

/**
 * Performs one step: journalled with its undo before it acts, timed, and closed in the journal when it ends.
 * `critical` marks what traffic waits for; such steps keep the journal's fsync off the path by `quick`.
 */
export async function step<T>(
  run: RunLog,
  phase: Phase,
  name: string,
  options: StepOptions,
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

/** Tells the user of something that does not stop the migration; what was told is not told again. */
export function warn(run: RunLog, text: string): void {
  if (run.warnings.includes(text)) return;
  run.warnings.push(text);
  run.emit({ type: 'warning', atMs: run.timeline.relative(), text });
}

/** Keeps a captured shadow for those who come later; that it cannot be kept is no reason to stop. */
export function keepShadow(
  run: RunLog,
  store: ShadowStore | undefined,
  { vm, nic, shadow, by }: { vm: string; nic: string; shadow: NetShadow; by: SeenBy },
): void {
  try {
    store?.record(vm, nic, shadow, by);
  } catch (error) {
    warn(run, `the shadow of ${nic} was not kept: ${reasonOf(error)}`);
  }
}

/** One deadline for one wait before the commit: ends with the user's cancel too. */
export function waitBefore(run: Pick<Run, 'cancel'>, what: string, ms: number): AbortSignal {
  return deadline(what, ms, run.cancel);
}

/** One deadline for one wait after the commit, which nobody can cancel. */
export function waitAfter(what: string, ms: number): AbortSignal {
  return deadline(what, ms);
}
