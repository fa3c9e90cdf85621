/**
 * Who may run a VM. The record is the one truth about a hand-over: the compare-and-swap of `{owner, epoch}` is the
 * commit point of a migration. Behind this interface stands SQLite on one machine (and a shared store on many).
 */

export interface Ownership {
  vm: string;
  /** Name of the host that is allowed to run the VM. */
  owner: string;
  /** Grows by one with every hand-over. */
  epoch: number;
}

export interface OwnershipStore {
  read(vm: string): Promise<Ownership | undefined>;
  list(): Promise<Ownership[]>;
  /** Registers a VM that nobody owns. @throws NOT_OWNER when another host owns it. */
  register(vm: string, owner: string): Promise<Ownership>;
  /**
   * Hands the VM over in one atomic step if `expected` is still true; durable when it returns.
   * @throws ShadowferryError NOT_OWNER when it is not.
   */
  handOver(expected: Ownership, owner: string): Promise<Ownership>;
  /** Claims a host's device for a VM. @throws DEVICE_CLAIMED_TWICE when another VM or migration holds it. */
  claimDevice(claim: DeviceClaim): Promise<void>;
  releaseDevice(claim: Pick<DeviceClaim, 'host' | 'device' | 'vm'>): Promise<void>;
  claims(host?: string): Promise<DeviceClaim[]>;
  forget(vm: string): Promise<void>;
  close(): void;
}

export interface DeviceClaim {
  host: string;
  device: string;
  vm: string;
}
