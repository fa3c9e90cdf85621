/** Which device of the destination stands behind which NIC. Reads only. */
import { ShadowferryError } from '../errors.ts';
import type { Host, HostDevice } from '../host/host.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import type { MigrationRequest } from './request.ts';
import type { Run } from './run.ts';
import type { RunningVm } from './vm.ts';

const list = (words: readonly string[]) => (words.length === 0 ? '(there is none)' : words.join(', '));

function checkNames(request: MigrationRequest, vm: RunningVm, destination: Host): void {
  const direct = vm.qemu.spec.nics.filter((nic) => nic.direct !== undefined).map((nic) => nic.id);
  const available = destination.devices().map((device) => device.id);
  const taken = new Set<string>();
  for (const [nic, device] of Object.entries(request.devices)) {
    const field = `devices.${nic}`;
    if (!direct.includes(nic)) {
      throw new ShadowferryError('UNKNOWN_DEVICE', {
        field,
        value: nic,
        where: `VM "${vm.qemu.spec.name}"`,
        allowed: list(direct),
      });
    }
    if (!available.includes(device)) {
      throw new ShadowferryError('UNKNOWN_DEVICE', {
        field,
        value: device,
        where: `host "${destination.name}"`,
        allowed: list(available),
      });
    }
    if (taken.has(device)) throw new ShadowferryError('DEVICE_CLAIMED_TWICE', { field, value: device });
    taken.add(device);
  }
}

/**
 * Finds the NIC that moves and the destination's device for it.
 * @throws SAME_HOST, UNKNOWN_DEVICE, DEVICE_CLAIMED_TWICE, INPUT_FIELD, each naming the field.
 */
export async function resolveTarget(
  request: MigrationRequest,
  vm: RunningVm,
  destination: Host,
  ownership: OwnershipStore,
): Promise<Pick<Run, 'nic' | 'target'>> {
  const { spec } = vm.qemu;
  if (destination.name === vm.host.name) {
    throw new ShadowferryError('SAME_HOST', { field: 'destination', vm: spec.name, value: destination.name });
  }
  checkNames(request, vm, destination);
  const direct = spec.nics.filter((nic) => nic.direct !== undefined);
  const [nic] = direct;
  if (nic?.direct === undefined || direct.length > 1) {
    const problem = `"${spec.name}" has ${direct.length} direct devices, and one at a time can be moved`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'vm', problem });
  }
  const claims = await ownership.claims(destination.name);
  const holder = (device: HostDevice) =>
    claims.find((claim) => claim.device === device.id && claim.vm !== spec.name)?.vm;
  const wanted = request.devices[nic.id];
  const field = `devices.${nic.id}`;
  const candidates = destination.devices().filter((device) => wanted === undefined || device.id === wanted);
  const fitting = candidates.filter(
    (device) => device.network === nic.network && holder(device) === undefined,
  );
  const target = fitting[0];
  if (target === undefined) {
    const why = candidates.map((device) => {
      const vmOf = holder(device);
      return `${device.id} ${vmOf === undefined ? `is on network "${device.network}"` : `is held by VM "${vmOf}"`}`;
    });
    const problem = `host "${destination.name}" has no free device on network "${nic.network}" (${list(why)})`;
    throw new ShadowferryError('INPUT_FIELD', { field, problem });
  }
  return { nic: { ...nic, direct: nic.direct }, target };
}
