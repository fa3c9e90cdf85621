/** What the crash matrix asks of the daemons, as any user of the API could. */
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { Way } from './cases.ts';
import type { HostName, Observation } from './observation.ts';

export interface Asked {
  source: HostName;
  destination: HostName;
  way: Way;
}

export interface Driver {
  /** Directory of the VMs' directories below a host's `state`. */
  readonly vms: string;
  /** Defines the VM on a host, starts it, and waits until its guest is up. */
  startVm(host: HostName): Promise<VmSpec>;
  /** Makes sure that neither host, nor the store, knows the VM. */
  clearVm(): Promise<void>;
  /** Asks for a migration. @returns its id */
  migrate(asked: Asked): Promise<string>;
  /** How it ended; null while it is open, undefined where the daemon cannot be asked or does not know it. */
  ending(source: HostName, id: string): Promise<string | null | undefined>;
  explain(source: HostName, id: string): Promise<Observation['explanation']>;
  /** Whether a daemon says that it waits for something that only the end of a fault can bring. */
  attach(host: HostName): Promise<void>;
}
