/**
 * Where a swap takes place: what the engine needs of a VM and its host, or of the machine on which we run. A site is
 * made for one swap, and knows both devices: the one that leaves (`old`) and the one that comes (`new`).
 */
import type { GuestShell } from '../../guest/shell.ts';
import type { GuestChannel } from '../../shadow/channel.ts';
import type { DeviceIdentity } from '../../shadow/net/model.ts';
import type { ProgramOptions } from '../../shadow/net/program.ts';

export type Which = 'old' | 'new';

export interface SwapDevice {
  /** The host's name for it. */
  id: string;
  /** QEMU's model, or the name of the hardware. */
  model: string;
  /** How the interface is found, where the shadow is replayed, while this device is there. */
  identity: DeviceIdentity;
  /** The MAC that it may come with instead, when it comes anew. */
  permanentMac?: string | undefined;
  /** `vvvv:dddd`, where that is known before the device is there. */
  pciId?: string | undefined;
  /** Module alias of its driver, or the module's name. */
  module?: string | undefined;
}

export interface SwapSite {
  /** What has the interface: the VM's name, or that of the machine. */
  readonly subject: string;
  readonly host: string;
  /** Names the interface among those of the subject; also the directory of its program. */
  readonly nic: string;
  readonly devices: Readonly<Record<Which, SwapDevice>>;
  readonly shell: GuestShell;
  readonly channel: GuestChannel;
  /** How the program reaches `channel`. */
  readonly ports: Pick<ProgramOptions, 'port' | 'reply'>;
  /** PCI path of a standby, and whether its link must be raised and lowered by us. */
  readonly standby: { pciPath: string; manageLink: boolean } | undefined;

  /** What the user must know of the old device once it is out of use; undefined: nothing. */
  readonly farewell: string | undefined;

  /** Whether the subject can be worked on now. Changes nothing. @throws ShadowferryError why not */
  check(signal: AbortSignal): Promise<void>;
  /** Nobody else may take the device from here on. @throws DEVICE_CLAIMED_TWICE */
  claim(which: Which): Promise<void>;
  release(which: Which): Promise<void>;
  /** Makes the new device ready, so that `plug` is one short act; the interface must not see it yet. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Undoes `prepare`; safe to repeat. */
  unprepare(): Promise<void>;
  standbyLink(up: boolean): Promise<void>;
  /** Whether any direct device is there for the interface: with or without a driver. */
  isPlugged(): Promise<boolean>;
  /** Takes the device that is there away, and returns when it is gone. @throws GUEST_REFUSED_UNPLUG, UNPLUG_IGNORED */
  unplug(which: Which, signal: AbortSignal): Promise<void>;
  /** Resolves true when an unplug that was asked for before comes after all. */
  lateUnplug(waitMs: number): Promise<boolean>;
  /** Resolves when the host sees the device go without having asked for it, with how. */
  vanished(signal: AbortSignal): Promise<string>;
  plug(which: Which): Promise<void>;
  /** Tells the network that the interface is behind this device now. */
  announce(which: Which): Promise<void>;
  /** Lets the host answer for the absent interface; with no addresses, no longer. See `host/unreachable.ts`. */
  answer(addresses: readonly string[]): Promise<void>;
  /** Writes down that the interface is behind the new device now. */
  record(): Promise<void>;
}

/** What the program looks for when a device comes. */
export function arrivalOf({ identity, permanentMac }: SwapDevice): { mac: string; pciPath: string } {
  const { mac, pciPath } = identity;
  return {
    mac: permanentMac === undefined || permanentMac === mac ? mac : `${mac} ${permanentMac}`,
    pciPath,
  };
}
