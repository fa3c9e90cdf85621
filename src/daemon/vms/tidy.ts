/** What a VM that has ended leaves on its host: taps and claims. */
import { deadline } from '../../base/deadline.ts';
import type { Host } from '../../host/host.ts';
import { directNics, type VmSpec } from '../../hypervisor/qemu/spec.ts';
import { allTaps } from '../../migration/vm.ts';
import type { OwnershipStore } from '../../ownership/store.ts';

/** Removes the taps of a VM that does not run here. Safe to repeat. @throws what `removeTap` throws */
export async function removeTaps(host: Pick<Host, 'removeTap'>, spec: VmSpec): Promise<void> {
  for (const { tap } of allTaps(spec)) await host.removeTap(tap);
}

/**
 * Frees the devices of a host that a VM held. Safe to repeat.
 * @throws errors of the store
 */
export async function releaseDevices(
  ownership: Pick<OwnershipStore, 'releaseDevice'>,
  host: string,
  spec: VmSpec,
  limitMs: number,
): Promise<void> {
  const signal = deadline('the ownership store', limitMs);
  for (const { direct } of directNics(spec))
    await ownership.releaseDevice({ host, device: direct.device, vm: spec.name }, signal);
}
