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

export interface MigrationResult {
  /** Absent for a migration; the others stay on one host. */
  kind?: 'swap' | 'rescue';
  id: string;
  vm: string;
  source: string;
  destination: string;
  ending: Ending;
  /** True when the VM is where it was asked to be, with its device. */
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
  shadow: {
    captured: number;
    restored: Extract<Outcome, { fate: 'restored' }>[];
    adapted: Extract<Outcome, { fate: 'adapted' }>[];
    lost: Extract<Outcome, { fate: 'lost' }>[];
  };
  /** Why it is degraded, rolled back or stuck. */
  error?: ResultError;
  /** What an undo could not take back. */
  left: string[];
}
