/** How who looks at a VM comes to it: in the lab by its directory and locks, in a daemon by what the daemon holds. */
import type { RunningVm } from '../migration/vm.ts';

export interface VmAccess {
  readonly vm: string;
  /**
   * Where the VM runs now: the host, and the directory of its sockets there.
   * @throws ShadowferryError when there is no such VM (any more)
   */
  place(): Promise<{ host: string; directory: string }>;
  /** Whether somebody drives the VM now, so that nobody may look at it. */
  busy(): boolean;
  /**
   * Has the VM for a short while; waits for others that only look.
   * @throws MIGRATION_BUSY when somebody drives it, UNKNOWN_VM, and what `act` throws
   */
  look<T>(signal: AbortSignal, act: (vm: RunningVm) => Promise<T>): Promise<T>;
}
