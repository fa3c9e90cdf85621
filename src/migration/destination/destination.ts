/**
 * The destination's half of a migration, as the coordinator on the source sees it. Behind it stands this process (see
 * `local-host.ts`) or another host's daemon, so everything that passes is data, and each call may be made again.
 */

import type { ShadowferryError } from '../../errors.ts';
import type { HostDevice } from '../../host/host.ts';
import type { Absent } from '../../host/unreachable.ts';
import type { ModelIdentity } from '../../hypervisor/qemu/pci.ts';
import type { VmSpec, Wanted } from '../../hypervisor/qemu/spec.ts';
import type { Ownership } from '../../ownership/store.ts';
import type { ManagerReport } from '../../shadow/net/manager/manager.ts';
import type { DeviceIdentity, NetShadow, Outcome } from '../../shadow/net/model.ts';
import type { ReplayPlan } from '../../shadow/net/plan-model.ts';
import type { OperationResult } from '../../shadow/net/verify.ts';
import type { DiskExport, DiskTarget, TargetFacts } from '../../storage/model.ts';
import type { HandOver } from '../protocol/record.ts';
import type { Limits } from '../request.ts';
import type { NicMove, RunLog } from '../run.ts';
import type { DestinationUndo } from '../undo.ts';
import type { RunningVm } from '../vm.ts';

/** A host that VMs can move to. */
export interface DestinationHost {
  readonly name: string;
  devices(): Promise<readonly HostDevice[]>;
  /** What a device model is to a guest, as this host's QEMU has it. @throws UNKNOWN_DEVICE naming the field */
  model(asked: {
    machine: string;
    model: string;
    field: string;
    signal: AbortSignal;
  }): Promise<ModelIdentity>;
  /** What its QEMU can receive. */
  receiving(signal: AbortSignal): Promise<Receiving>;
  /** What there is at paths where disks shall come to, in their order. */
  places(paths: readonly string[], signal: AbortSignal): Promise<readonly TargetFacts[]>;
  /** Answers for an absent NIC, or stops doing so when there are no addresses; does nothing where it cannot. */
  answerUnreachable(absent: Absent, addresses: readonly string[]): Promise<void>;
  /**
   * Claims what a VM needs, and starts a QEMU that waits for it, paused. Each step is journalled in `log` with its undo
   * before it acts; who called undoes them when this throws.
   */
  reserve(order: Order, log: RunLog, cancel: AbortSignal): Promise<Incoming>;
  /** Takes back one step of the `reserve` of a migration; safe to repeat. */
  undo(of: { vm: string; migration: string }, undo: DestinationUndo): Promise<void>;
}

export interface Receiving {
  postcopy: { supported: boolean; reason: string };
  /** Names of QEMU's migration capabilities. */
  capabilities: readonly string[];
}

/** What the destination is told before it makes anything. */
export interface Order {
  /** From which record the VM is to be handed over. */
  handOver: HandOver;
  /** The VM as the destination will run it. */
  spec: VmSpec;
  /** The direct NICs that move, each with its device there. */
  nics: readonly NicMove[];
  /** Images that are made for the disks that move, in the order of the spec. */
  disks: readonly DiskTarget[];
  /** Of the migration; both QEMUs must agree on them. */
  capabilities: Readonly<Record<string, boolean>>;
  limits: Limits;
  persist: boolean;
}

/** One NIC whose program waits in the guest: all that the destination needs to attach and to settle it by itself. */
export interface StagedNic {
  nic: string;
  shadow: NetShadow;
  plan: ReplayPlan;
  identity: DeviceIdentity;
  standbyPciPath: string | undefined;
  /** The guest's network manager, as it was before it was told. */
  manager: ManagerReport;
}

/** What the program in the guest said of its operations. */
export interface Replayed {
  results: OperationResult[];
}

/** What became of each NIC, by its id. */
export interface Attached {
  replayed: ReadonlyMap<string, Replayed>;
  failed: ReadonlyMap<string, ShadowferryError>;
}

export interface NicSettled {
  after: NetShadow;
  outcomes: Outcome[];
  /** What was chosen and the device cannot have, for a later one. */
  wanted: Wanted[];
  /** Files in the guest for its next boot; undefined when they were not asked for. */
  persisted: string[] | undefined;
}

/** A VM on its way to a host. */
export interface Incoming {
  /** Where the source sends the stream. */
  readonly uri: string;
  /** Where the source sends the disks that move. */
  readonly exports: readonly DiskExport[];
  /** Settles when the QEMU that waits has ended, with the reason. */
  readonly gone: Promise<string>;
  /** The VM, where it is in the hands of this process. */
  readonly vm?: RunningVm;
  /** Takes what the program in the guest will do; from here on the destination can end the migration by itself. */
  stage(nics: readonly StagedNic[]): Promise<void>;
  /**
   * Waits until all that the VM needs to run was loaded, and it waits, paused: the vote for the commit. In post-copy
   * pages may be missing. @throws MIGRATION_FAILED
   */
  loaded(signal: AbortSignal): Promise<void>;
  /**
   * Lets the VM run.
   * @param owned the record that says so; looked up again in the store
   * @throws NOT_OWNER
   */
  allow(owned: Ownership, signal: AbortSignal): Promise<void>;
  /** Waits until the vCPUs run. @returns when, ms since the epoch */
  running(signal: AbortSignal): Promise<number>;
  /**
   * Whether it is certain that no vCPU ran, and that none will, though the record may name the destination. Only where no
   * daemon stands behind it, which finds that out by itself and gives the VM back.
   */
  neverRan?(): Promise<boolean>;
  /**
   * Plugs the devices and waits until the shadows are replayed. One that fails keeps no other away.
   * @param onCarrier called when packets can reach a NIC again
   */
  attach(onCarrier: (nic: string) => void): Promise<Attached>;
  /**
   * Listens anew for the rest of a post-copy whose link broke. Absent where the destination does that by itself.
   * @returns where the source is to send it
   */
  recover?(signal: AbortSignal): Promise<string>;
  /** Compares each NIC that has its device with its shadow, and cleans the guest up. By NIC. */
  settle(): Promise<ReadonlyMap<string, NicSettled>>;
  /** No more is heard of it here; the VM runs on. */
  close(): void;
}
