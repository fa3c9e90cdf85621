/** Captures the shadows of a running VM's direct devices, for whoever wants to see or keep them. */
import { type ShadowferryError, toShadowferryError } from '../errors.ts';
import { guestPciPath } from '../hypervisor/qemu/pci.ts';
import { type NicSpec, nicIds, type VmSpec } from '../hypervisor/qemu/spec.ts';
import type { RunningVm } from '../migration/vm.ts';
import { captureShadow } from '../shadow/net/guest.ts';
import type { NetShadow } from '../shadow/net/model.ts';

/** What a look at one NIC gave: its shadow, or why there is none now. */
export interface Look {
  nic: string;
  atMs: number;
  shadow?: NetShadow;
  error?: ShadowferryError;
}

/** The NICs of a VM that have a shadow: those with a direct device. */
export function watchedNics(spec: Pick<VmSpec, 'nics'>): NicSpec[] {
  return spec.nics.filter(({ direct }) => direct !== undefined);
}

async function captureNic(vm: RunningVm, nic: NicSpec, signal: AbortSignal): Promise<NetShadow> {
  const { monitor } = vm.qemu;
  const ids = nicIds(nic);
  const identity = { mac: nic.mac, pciPath: await guestPciPath(monitor, ids.directPort) };
  const standby = nic.standby === 'none' ? undefined : await guestPciPath(monitor, ids.standbyPort);
  return captureShadow(vm.agent, identity, standby, signal);
}

/**
 * Looks at some NICs of a VM, or at all that have a direct device. What one of them cannot show keeps nobody from the
 * others.
 * @throws AGENT_SILENT and the like when the guest does not answer at all
 */
export async function lookAt(
  vm: RunningVm,
  signal: AbortSignal,
  nics: readonly string[] | undefined = undefined,
): Promise<Look[]> {
  await vm.agent.waitReady({ signal });
  const looks: Look[] = [];
  for (const nic of watchedNics(vm.qemu.spec)) {
    if (nics !== undefined && !nics.includes(nic.id)) continue;
    const atMs = Date.now();
    try {
      looks.push({ nic: nic.id, atMs, shadow: await captureNic(vm, nic, signal) });
    } catch (thrown) {
      const error = toShadowferryError(thrown);
      if (error.code !== 'GUEST_LACKS' && error.code !== 'GUEST_COMMAND_FAILED') throw error;
      looks.push({ nic: nic.id, atMs, error });
    }
  }
  return looks;
}
