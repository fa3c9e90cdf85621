/** What a daemon sees of its QEMU, from `query-status` and `query-migrate`, in the words of the protocol. */
import type { MigrationStatus } from '../../hypervisor/qmp/migration-info.ts';

/**
 * `none`: no process. `running`: vCPUs run, no copy. `copying`: vCPUs run, a copy is under way.
 * `pre-switchover`: vCPUs stopped, QEMU waits for `migrate-continue`.
 * `sending`: vCPUs stopped, the rest is being sent; if that fails, QEMU starts the VM again **by itself**.
 * `sent`: all sent; QEMU does not run the VM by itself any more.
 * `serving`: post-copy; the same, and the destination may need pages. `severed`: the same, with the link gone.
 * `stopped`: vCPUs stopped, no copy.
 */
export const SOURCE_VIEWS = [
  'none',
  'running',
  'copying',
  'pre-switchover',
  'sending',
  'sent',
  'serving',
  'severed',
  'stopped',
] as const;
export type SourceView = (typeof SOURCE_VIEWS)[number];

/**
 * `waiting`: started with `-incoming`, nothing has come. `receiving`: it comes.
 * `loaded`: all that is needed to run is there, and the vCPUs wait for `cont`.
 * `running`. `stopped`: it ran, and stands still by itself (I/O error, panic, shutdown).
 */
export const DESTINATION_VIEWS = ['none', 'waiting', 'receiving', 'loaded', 'running', 'stopped'] as const;
export type DestinationView = (typeof DESTINATION_VIEWS)[number];

/** How much of the memory is on the destination. `severed`: a part, and the link to the rest is gone. */
export const MEMORY_VIEWS = ['whole', 'partial', 'severed'] as const;
export type MemoryView = (typeof MEMORY_VIEWS)[number];

export interface QemuAnswers {
  /** `query-status`. */
  status: string;
  running: boolean;
  /** `query-migrate`. */
  migration: MigrationStatus;
}

/** @param answers undefined when there is no process */
export function sourceView(answers: QemuAnswers | undefined): SourceView {
  if (answers === undefined) return 'none';
  const { running, migration } = answers;
  switch (migration) {
    case 'setup':
    case 'active':
    case 'wait-unplug':
    case 'colo':
      return running ? 'copying' : 'sending'; // stopped before the status follows: the end of pre-copy
    case 'pre-switchover':
      return 'pre-switchover';
    case 'device':
    case 'postcopy-device':
    case 'cancelling':
    case 'failing':
      return 'sending';
    case 'postcopy-active':
      return 'serving';
    case 'postcopy-paused':
    case 'postcopy-recover':
    case 'postcopy-recover-setup':
      return 'severed';
    case 'completed':
      return running ? 'running' : 'sent';
    case 'none':
    case 'cancelled':
    case 'failed':
      return running ? 'running' : 'stopped';
    case 'unknown': // a status of a later QEMU: the careful reading is that it may still start the VM
      return running ? 'copying' : 'sending';
    default:
      return migration satisfies never;
  }
}

/** @param answers undefined when there is no process */
export function destinationView(answers: QemuAnswers | undefined): DestinationView {
  if (answers === undefined) return 'none';
  const { status, running, migration } = answers;
  if (running) return 'running';
  if (status === 'inmigrate') return migration === 'none' || migration === 'setup' ? 'waiting' : 'receiving';
  if (status === 'paused' || status === 'prelaunch') return 'loaded';
  return 'stopped';
}

/** Memory of the destination, from its own `query-migrate`. */
export function memoryView(migration: MigrationStatus): MemoryView {
  switch (migration) {
    case 'completed':
    case 'none': // a QEMU that never took a VM in has all of its own
      return 'whole';
    case 'postcopy-paused':
    case 'postcopy-recover':
    case 'postcopy-recover-setup':
      return 'severed';
    case 'setup':
    case 'active':
    case 'wait-unplug':
    case 'colo':
    case 'pre-switchover':
    case 'device':
    case 'postcopy-device':
    case 'postcopy-active':
    case 'cancelling':
    case 'cancelled':
    case 'failing':
    case 'failed':
    case 'unknown':
      return 'partial';
    default:
      return migration satisfies never;
  }
}
