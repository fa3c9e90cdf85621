/**
 * Who may run a VM. The record is the one truth about a hand-over: the compare-and-swap of `{owner, epoch}` is the
 * commit point of a migration. Behind this interface stands SQLite on one machine, and etcd on many.
 *
 * Every call takes an `AbortSignal` as its deadline; without one the store's own limit holds. Beside what is named
 * below, every call may throw STORE_UNREACHABLE, STORE_LOGIN_REFUSED, STORE_FORBIDDEN, STORE_UNFIT and STORE_DAMAGED.
 */

export interface Ownership {
  vm: string;
  /** Name of the host that is allowed to run the VM. */
  owner: string;
  /** Grows by one with every hand-over, withdrawn hand-over, and registration after the VM was forgotten. */
  epoch: number;
}

/** One try to hand a VM over; whoever tries writes it down first, so that the try can be resolved after a crash. */
export interface HandOverAttempt {
  /** Unique for this try, for example the id of the migration. */
  attempt: string;
  /** The record that the try began from. */
  expected: Ownership;
  /** The host that gets the VM. */
  to: string;
}

/** How a try ended. It stays so: a withdrawn one can never be committed by a late message. */
export interface HandOverOutcome {
  action: 'committed' | 'withdrawn';
  reason: string;
  /** The record as it is now. */
  record: Ownership | undefined;
}

export interface HandOverOptions {
  /** As in `HandOverAttempt`; a new one when absent. */
  attempt?: string;
  signal?: AbortSignal;
}

/** A device of a host that a VM may use, and nobody else. */
export interface DeviceClaim {
  host: string;
  device: string;
  vm: string;
  /**
   * The migration that holds it while it is under way: if that is dead, reconciliation may free the device. Absent
   * when the device is the VM's own.
   */
  migration?: string;
  /** When it was made, ms since 1970. */
  atMs: number;
}

export type ClaimRequest = Omit<DeviceClaim, 'atMs'>;

export interface OwnershipStore {
  read(vm: string, signal?: AbortSignal): Promise<Ownership | undefined>;
  /** All records, by the name of the VM. */
  list(signal?: AbortSignal): Promise<Ownership[]>;
  /** Registers a VM that nobody owns; nothing happens when it is ours already. @throws NOT_OWNER when it is not. */
  register(vm: string, owner: string, signal?: AbortSignal): Promise<Ownership>;
  /**
   * Hands the VM over in one atomic step if `expected` is still true; durable when it returns. The same attempt may
   * be made again: it happens once.
   * @throws NOT_OWNER when `expected` is not true, HANDOVER_WITHDRAWN when this attempt was withdrawn,
   *   STORE_UNREACHABLE when it did not happen and will not, HANDOVER_UNKNOWN when that cannot be known now: neither
   *   host may start the VM until `resolveHandOver` has said how it ended.
   */
  handOver(expected: Ownership, owner: string, options?: HandOverOptions): Promise<Ownership>;
  /**
   * Says whether an attempt was committed. If it was not, it is withdrawn for good: the epoch grows with the owner
   * unchanged, so that a message that is still on its way finds `expected` untrue.
   * @throws HANDOVER_UNKNOWN when the store cannot be asked, or the attempt is so old that it is not remembered
   */
  resolveHandOver(attempt: HandOverAttempt, signal?: AbortSignal): Promise<HandOverOutcome>;
  /**
   * Claims a host's device for a VM. Claiming what the same VM holds succeeds: without a migration it makes the
   * device the VM's own, with one it leaves the claim as it is.
   * @throws DEVICE_CLAIMED_TWICE when another VM, or another migration of this VM, holds it
   */
  claimDevice(claim: ClaimRequest, signal?: AbortSignal): Promise<void>;
  /** Frees a device if this VM, and when one is named this migration, holds it; else nothing happens. */
  releaseDevice(claim: ClaimRequest, signal?: AbortSignal): Promise<void>;
  /** The claims on one host's devices or on all, by host and device. */
  claims(host?: string, signal?: AbortSignal): Promise<DeviceClaim[]>;
  /** Forgets the owner and frees the VM's devices. The epoch is kept, so that it grows if the VM comes back. */
  forget(vm: string, signal?: AbortSignal): Promise<void>;
  close(): void;
}
