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
  /** Where its device is, or would be, in the guest. */
  pciPath: string;
  atMs: number;
  shadow?: NetShadow;
  error?: ShadowferryError;
}

/** The NICs of a VM that have a shadow: those with a direct device. */
export function watchedNics(spec: Pick<VmSpec, 'nics'>): NicSpec[] {
  return spec.nics.filter(({ direct }) => direct !== undefined);
}

/** PCI addresses in the guest of the direct devices, by NIC, whether they are there now or not. */
export async function devicePaths(vm: RunningVm): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const nic of watchedNics(vm.qemu.spec))
    paths.set(nic.id, await guestPciPath(vm.qemu.monitor, nicIds(nic).directPort));
  return paths;
}

async function captureNic(
  vm: RunningVm,
  nic: NicSpec,
  pciPath: string,
  signal: AbortSignal,
): Promise<NetShadow> {
  const { monitor } = vm.qemu;
  const standby = nic.standby === 'none' ? undefined : await guestPciPath(monitor, nicIds(nic).standbyPort);
  return captureShadow(vm.agent, { mac: nic.mac, pciPath }, standby, signal);
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
  const paths = await devicePaths(vm);
  for (const nic of watchedNics(vm.qemu.spec)) {
    if (nics !== undefined && !nics.includes(nic.id)) continue;
    const pciPath = paths.get(nic.id) ?? '';
    const seen = { nic: nic.id, pciPath, atMs: Date.now() };
    try {
      looks.push({ ...seen, shadow: await captureNic(vm, nic, pciPath, signal) });
    } catch (thrown) {
      const error = toShadowferryError(thrown);
      if (error.code !== 'GUEST_LACKS' && error.code !== 'GUEST_COMMAND_FAILED') throw error;
      looks.push({ ...seen, error });
    }
  }
  return looks;
}
