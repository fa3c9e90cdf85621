/** The finished result of a migration: another type than anything that is still running. */
import type { ErrorCode } from '../errors.ts';
import type { Outcome } from '../shadow/net/model.ts';
import type { Continuity } from '../shadow/net/plan-model.ts';
import type { ProgressEvent } from './events.ts';
import type { Ending } from './machine.ts';
import type { Mark, PhaseTime, StepTime } from './timeline.ts';

export interface DeviceName {
  model: string;
  /** As the guest says it. */
  driver: string;
}

export interface ResultError {
  code: ErrorCode;
  message: string;
  fix: string;
}

/** An outcome of a NIC of its own, which it names where several have moved. */
type Of<F extends Outcome['fate']> = Extract<Outcome, { fate: F }> & { nic?: string };

export interface ShadowResult {
  captured: number;
  restored: Of<'restored'>[];
  adapted: Of<'adapted'>[];
  lost: Of<'lost'>[];
}

/** What became of one direct NIC. */
export interface NicResult {
  /** Its id in the VM's spec. */
  nic: string;
  mac: string;
  /** Absent where there is none that we know, as on bare metal. */
  network?: string;
  /** True when it is where it was asked to be, with its device. */
  ok: boolean;
  from: DeviceName & { device: string };
  /** The device that was matched; its driver is known once it is attached. */
  to: { device: string; model: string; driver: string | null };
  continuity?: Continuity;
  shadow: ShadowResult;
  /** Files that were written in the guest for its next boot; absent when they were not asked for. */
  persisted?: string[];
  /** Why it has no device. */
  error?: ResultError;
}

/** Of a VM with several direct NICs, what is not in `nics` is the sum: names joined, counts added, the least continuity. */
export interface MigrationResult {
  /** Absent for a migration; `recovered`: one that a later process took to its end. The others stay on one host. */
  kind?: 'swap' | 'rescue' | 'recovered';
  id: string;
  vm: string;
  source: string;
  destination: string;
  ending: Ending;
  /** True when the VM is where it was asked to be, with its devices. */
  ok: boolean;
  from: DeviceName;
  /** Absent when no device was attached. */
  to?: DeviceName;
  continuity?: Continuity;
  strategy?: 'precopy' | 'postcopy';
  /** Ms since the epoch. */
  startedAtMs: number;
  totalMs: number;
  /** vCPUs stopped, from the source's STOP to the destination's RESUME; null when they never stopped. */
  blackoutMs: number | null;
  /** What QEMU itself calls downtime. */
  qemuDowntimeMs: number | null;
  memoryBytes: number;
  phases: PhaseTime[];
  steps: StepTime[];
  marks: Mark[];
  progress: ProgressEvent[];
  decisions: { atMs: number; action: string; reason: string }[];
  warnings: string[];
  shadow: ShadowResult;
  /** Each direct NIC, in the order of the VM's spec. */
  nics: NicResult[];
  /** Why it is degraded, rolled back or stuck. */
  error?: ResultError;
  /** What an undo could not take back. */
  left: string[];
}
