/** A VM's spec and the devices of the host that shall run it. Pure. */
import { ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';

/**
 * The spec with the models that its devices have on this host now.
 * @throws UNKNOWN_DEVICE, INPUT_FIELD for one on another network, DEVICE_CLAIMED_TWICE
 */
export function placeOnHost(host: Pick<Host, 'name' | 'devices'>, spec: VmSpec): VmSpec {
  const devices = host.devices();
  const taken = new Set<string>();
  const nics = spec.nics.map((nic) => {
    if (nic.direct === undefined) return nic;
    const { device } = nic.direct;
    const field = `nics.${nic.id}.device`;
    const found = devices.find(({ id }) => id === device);
    if (found === undefined) {
      const allowed = devices.map(({ id }) => id).join(', ') || '(there is none)';
      throw new ShadowferryError('UNKNOWN_DEVICE', {
        ...{ field, value: device, where: `host "${host.name}"`, allowed },
      });
    }
    if (found.network !== nic.network) {
      const problem = `${device} is on network "${found.network}", and ${nic.id} on "${nic.network}"`;
      throw new ShadowferryError('INPUT_FIELD', { field, problem });
    }
    if (taken.has(device)) throw new ShadowferryError('DEVICE_CLAIMED_TWICE', { field, value: device });
    taken.add(device);
    return { ...nic, direct: { device, model: found.model } };
  });
  return { ...spec, nics };
}
