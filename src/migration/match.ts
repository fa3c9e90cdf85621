/** Which device of the destination stands behind which NIC. Reads only. */
import { ShadowferryError } from '../errors.ts';
import type { HostDevice } from '../host/host.ts';
import { type DirectNic, directNics } from '../hypervisor/qemu/spec.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import type { MigrationRequest } from './request.ts';
import type { NicMove } from './run.ts';
import type { RunningVm } from './vm.ts';

/** A NIC, its device of the destination, and why it is that one. */
export interface Match extends Pick<NicMove, 'nic' | 'target'> {
  reason: string;
}

/** What decides: who holds a device of the destination that another VM has claimed. */
interface Offer {
  host: string;
  devices: readonly HostDevice[];
  holder: (device: HostDevice) => string | undefined;
}

const list = (words: readonly string[]) => (words.length === 0 ? '(there is none)' : words.join(', '));

function checkNames(
  request: Pick<MigrationRequest, 'vm' | 'devices' | 'continuityOf'>,
  nics: readonly DirectNic[],
  { host, devices }: Offer,
): void {
  const direct = nics.map((nic) => nic.id);
  const available = devices.map((device) => device.id);
  const knownNic = (field: string, nic: string) => {
    if (direct.includes(nic)) return;
    const where = `VM "${request.vm}"`;
    throw new ShadowferryError('UNKNOWN_DEVICE', { field, value: nic, where, allowed: list(direct) });
  };
  for (const nic of Object.keys(request.continuityOf)) knownNic(`continuityOf.${nic}`, nic);
  const taken = new Set<string>();
  for (const [nic, device] of Object.entries(request.devices)) {
    const field = `devices.${nic}`;
    knownNic(field, nic);
    if (!available.includes(device)) {
      const where = `host "${host}"`;
      throw new ShadowferryError('UNKNOWN_DEVICE', { field, value: device, where, allowed: list(available) });
    }
    if (taken.has(device)) throw new ShadowferryError('DEVICE_CLAIMED_TWICE', { field, value: device });
    taken.add(device);
  }
}

/**
 * Gives each NIC a device of its own: the one that was asked for, else the first that is free, on the NIC's network and
 * not asked for by another NIC, in the order of the NICs and of the host's devices. All NICs of one network can use the
 * same devices, so the first fit finds a device for every NIC whenever there is a way to. Pure.
 * @throws UNKNOWN_DEVICE, DEVICE_CLAIMED_TWICE, INPUT_FIELD, each naming the field.
 */
export function matchDevices(
  request: Pick<MigrationRequest, 'vm' | 'devices' | 'continuityOf'>,
  nics: readonly DirectNic[],
  offer: Offer,
): Match[] {
  checkNames(request, nics, offer);
  const { host, devices, holder } = offer;
  const asked = new Map(Object.entries(request.devices).map(([nic, device]) => [device, nic]));
  const taken = new Map<string, string>();
  return nics.map((nic) => {
    const wanted = request.devices[nic.id];
    const unfit = (device: HostDevice): string | undefined => {
      if (device.network !== nic.network) return `is on network "${device.network}"`;
      const vm = holder(device);
      if (vm !== undefined) return `is held by VM "${vm}"`;
      const other = asked.get(device.id) ?? taken.get(device.id);
      return other === undefined || other === nic.id ? undefined : `is for ${other}`;
    };
    const candidates = devices.filter((device) => wanted === undefined || device.id === wanted);
    const fitting = candidates.filter((device) => unfit(device) === undefined);
    const [target, ...others] = fitting;
    if (target === undefined) {
      const why = list(candidates.map((device) => `${device.id} ${unfit(device)}`));
      const problem = `host "${host}" has no free device on network "${nic.network}" (${why})`;
      throw new ShadowferryError('INPUT_FIELD', { field: `devices.${nic.id}`, problem });
    }
    taken.set(target.id, nic.id);
    const on = `on network "${nic.network}"`;
    const spare = others.map(({ id }) => id).join(', ');
    const reason =
      wanted !== undefined
        ? 'asked for'
        : others.length === 0
          ? `the only one that is free ${on}`
          : `the first of ${fitting.length} that are free ${on}; ask for another (${spare}) with --device ${nic.id}=DEVICE`;
    return { nic, target, reason };
  });
}

/**
 * Finds the NICs that move and the destination's device for each.
 * @throws SAME_HOST, and what `matchDevices` throws.
 */
export async function resolveTargets(
  request: MigrationRequest,
  vm: RunningVm,
  destination: { name: string; devices(): readonly HostDevice[] | Promise<readonly HostDevice[]> },
  ownership: OwnershipStore,
): Promise<Match[]> {
  const { spec } = vm.qemu;
  if (destination.name === vm.host.name) {
    throw new ShadowferryError('SAME_HOST', { field: 'destination', vm: spec.name, value: destination.name });
  }
  const nics = directNics(spec);
  if (nics.length === 0) {
    const problem = `"${spec.name}" has no direct device; a VM without one is moved by QEMU alone`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'vm', problem });
  }
  const claims = await ownership.claims(destination.name);
  return matchDevices(request, nics, {
    host: destination.name,
    devices: await destination.devices(),
    holder: (device) => claims.find((claim) => claim.device === device.id && claim.vm !== spec.name)?.vm,
  });
}
