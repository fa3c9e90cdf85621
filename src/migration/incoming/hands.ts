/** What the destination's half does on its host, apart from when: each may be repeated, also by a later process. */

import type { ShadowferryError } from '../../errors.ts';
import type { MigrationStatus } from '../../hypervisor/qmp/migration-info.ts';
import type { DiskExport } from '../../storage/model.ts';
import type { RunLog } from '../run.ts';
import type { RunningVm } from '../vm.ts';
import type { IncomingEntry } from './journal.ts';
import type { AttachedText, OrderText, SettledText } from './wire-model.ts';

/** What QEMU says. */
export interface QemuLook {
  status: string;
  running: boolean;
  migration: MigrationStatus;
}

/** Where a QEMU takes a VM. */
export interface Listening {
  uri: string;
  exports: readonly DiskExport[];
}

/** An entry that was ordered, not only cancelled. */
export interface OrderedEntry extends IncomingEntry {
  order: OrderText;
}

export interface HandsEvents {
  /** Something changed that QEMU tells of by itself: it is worth a look. */
  onChange: (id: string) => void;
  /** The vCPUs run. @param atMs since the epoch */
  onRunning: (id: string, atMs: number) => void;
}

export interface IncomingHands {
  /** Told of what happens from now on. */
  listen(events: HandsEvents): void;
  /** Why a VM cannot come to this host now, or as it was ordered. Nothing is changed. */
  refusal(order: OrderText): Promise<ShadowferryError | undefined>;
  /**
   * Claims, taps, a QEMU that waits; what an earlier try left is replaced. Steps are journalled in `log` with their undo.
   * @returns where QEMU takes the stream, and the disks
   */
  reserve(entry: OrderedEntry, log: RunLog, cancel: AbortSignal): Promise<Listening>;
  /** What its QEMU says; undefined when there is no process. @throws when it cannot be known */
  look(entry: OrderedEntry): Promise<QemuLook | undefined>;
  /** Closes what takes the disks, then `cont`. @throws what QEMU says against it */
  continueVm(entry: OrderedEntry): Promise<void>;
  pauseVm(entry: OrderedEntry): Promise<void>;
  /** Plugs the devices, also where an earlier process had begun to, and waits until the programs have replayed. */
  attach(entry: OrderedEntry, log: RunLog, onCarrier: (nic: string) => void): Promise<AttachedText>;
  /** Compares with the shadows, cleans the guest up, makes the claims the VM's own. @throws what stands against it */
  settle(entry: OrderedEntry, log: RunLog, attached: AttachedText): Promise<SettledText>;
  /** The claims of the migration, and the images of its disks, become the VM's own. @throws STORE_UNREACHABLE and the like */
  keepClaims(entry: OrderedEntry): Promise<void>;
  /** Listens anew for the rest of the memory. @returns where */
  recoverCopy(entry: OrderedEntry): Promise<string>;
  /** Whether anything is there that `discard` removes, also where QEMU is gone. */
  remains(entry: OrderedEntry): Promise<boolean>;
  /** Ends QEMU; removes its directory, taps, and rules. */
  discard(entry: OrderedEntry): Promise<void>;
  /** Releases the claims. */
  release(entry: OrderedEntry): Promise<void>;
  /** Whether the devices are claimed for the migration, or for its VM. */
  claimed(entry: OrderedEntry): Promise<boolean>;
  /** The VM that runs here by right, with its connections; they are the caller's from here on. */
  take(entry: OrderedEntry): Promise<RunningVm | undefined>;
  /** Lets go of connections; VMs run on. */
  close(): Promise<void>;
}
