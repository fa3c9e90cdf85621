/** What a migration tells while it runs. Times are milliseconds since its start. */
import type { Phase } from './machine.ts';

export type MigrationEvent =
  | { type: 'phase'; atMs: number; phase: Phase; reason: string }
  | { type: 'mark'; atMs: number; name: string; detail?: string }
  | { type: 'decision'; atMs: number; action: string; reason: string }
  | { type: 'warning'; atMs: number; text: string }
  | ProgressEvent
  | { type: 'undo'; atMs: number; what: string };

export interface ProgressEvent {
  type: 'progress';
  atMs: number;
  phase: Phase;
  /** What is copied; the memory where it is left out. */
  of?: 'disks';
  /** Bytes. */
  transferred: number;
  remaining: number;
  total: number;
  /** Bytes per second. */
  rateBps: number;
  dirtyRateBps: number;
  /** Rounds over memory so far. */
  round: number;
  /** Milliseconds until the copy is done at this rate; null when it would not end. */
  etaMs: number | null;
  reason: string;
  /** What only the source has. */
  residual: Residual;
  /** Version of the VM's memory while it is copied; see docs/memory.md. */
  version?: string;
}

/** What the VM would lack if the source were gone. */
export interface Residual {
  bytes: number;
  /** Milliseconds until there is nothing; null where that is not known. */
  etaMs: number | null;
}
