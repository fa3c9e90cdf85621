/** A machine that runs VMs, as the migration engine sees it: names, places, and the network's edge. */

import type { Absent } from './unreachable.ts';

/** A device that a host can give to a VM. */
export interface HostDevice {
  /** The host's own name for it; unique on the host. */
  id: string;
  kind: 'emulated-nic';
  /** QEMU's device model, with options if any: `virtio-net-pci,queues=4`. */
  model: string;
  /** The network that it is connected to. */
  network: string;
}

export interface Host {
  readonly name: string;
  /** Address on which a QEMU of this host takes migration streams. */
  readonly migrationAddress: string;
  /** Words before a program that must run on this host (they exec it, so that its pid is the program's). */
  readonly prefix: readonly string[];
  /** Words before a program that reaches guests over their own network; none where this process does. */
  readonly guestPrefix?: readonly string[];
  readonly qemu: { binary: string; accelerator: 'tcg' | 'kvm' };
  /** Directories and block devices where VMs' disks may come to; anywhere where it is left out. */
  readonly diskDirectories?: readonly string[];
  /**
   * Certificates with which disks are encrypted on their way, as QEMU wants them: a directory, and this host's name in
   * its certificate. Without them disks go in the clear.
   */
  readonly diskTls?: { readonly directory: string; readonly name: string };
  /** Directory of a VM's sockets and logs on this host. */
  vmDirectory(vm: string): string;
  devices(): readonly HostDevice[];
  /** Makes a tap on a network's bridge, up, for several queues if asked; replaces a stale one of the same name. */
  createTap(name: string, network: string, queues?: number): Promise<void>;
  /** Removes a tap; does nothing when there is none. */
  removeTap(name: string): Promise<void>;
  /**
   * Answers TCP segments for an absent NIC's addresses with "unreachable" (see `unreachable.ts`), or stops doing so when
   * there are no addresses. Absent where the host cannot.
   */
  answerUnreachable?: (absent: Absent, addresses: readonly string[]) => Promise<void>;
}

/** Name of the tap of one part of a NIC: at most 15 characters, the same whenever it is asked for. */
export function tapName(vm: string, nic: string, part: 'direct' | 'standby'): string {
  let hash = 5381;
  for (const char of `${vm}/${nic}`) hash = (Math.imul(hash, 33) ^ (char.codePointAt(0) ?? 0)) >>> 0;
  return `sf${part === 'direct' ? 'd' : 's'}${hash.toString(16).padStart(8, '0')}`;
}
