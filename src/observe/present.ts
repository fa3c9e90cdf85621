/** The present shadow of a VM, or the last one that is known of it. */
import { deadline } from '../base/deadline.ts';
import { ShadowferryError, toShadowferryError } from '../errors.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import type { Change } from '../shadow/store/changes.ts';
import type { SeenBy, ShadowStore, ShadowVersion } from '../shadow/store/store.ts';
import type { VmAccess } from './access.ts';
import { type Look, lookAt, watchedNics } from './look.ts';

export interface Known {
  nic: string;
  version: ShadowVersion;
  shadow: NetShadow;
  /** Whether the VM showed it now. */
  live: boolean;
  /** Why this is the last that is known, and not what is there now. */
  why?: ShadowferryError;
  /** What changed with the version that this look made; empty when it made none. */
  changes: Change[];
}

/** How long a VM may take to show itself, ms: an emulated guest under load needs seconds. */
export const LOOK_MS = 20_000;

/** The last known shadow of a NIC. @throws NO_SHADOW when none was ever seen, or none that is still read */
export function lastKnown(store: ShadowStore, vm: string, nic: string, why: ShadowferryError): Known {
  const version = store.last(vm, nic);
  const shadow = version === undefined ? undefined : store.shadow(version);
  if (version === undefined || shadow === undefined)
    throw new ShadowferryError('NO_SHADOW', { nic, vm, why: why.message }, { cause: why });
  return { nic, version, shadow, live: false, why, changes: [] };
}

/** Takes in what was seen; undefined for what could not be. */
export function keepLook(store: ShadowStore, vm: string, look: Look, by: SeenBy): Known | undefined {
  if (look.shadow === undefined) return undefined;
  const { version, changes } = store.record(vm, look.nic, look.shadow, by, look.atMs);
  return { nic: look.nic, version, shadow: look.shadow, live: true, changes };
}

/**
 * What the VM's direct devices are now, taken into the store; where the VM or a device does not show it, what was seen
 * last.
 * @param nic only this one
 * @throws UNKNOWN_VM, UNKNOWN_DEVICE for the NIC, NO_SHADOW when nothing is known
 */
export async function presentShadows(
  access: VmAccess,
  store: ShadowStore,
  nic: string | undefined,
): Promise<Known[]> {
  const { vm } = access;
  await access.place(); // says what is wrong with the name
  const signal = deadline(`looking at VM "${vm}"`, LOOK_MS);
  let seen: { nics: string[]; looks: Look[] };
  try {
    seen = await access.look(signal, async (running) => {
      const nics = watchedNics(running.qemu.spec).map(({ id }) => id);
      if (nic !== undefined) checkNic(vm, nic, nics);
      if (nics.length === 0) throw new ShadowferryError('UNKNOWN_DEVICE', noDirect(vm, nic));
      return { nics, looks: await lookAt(running, signal, nic === undefined ? undefined : [nic]) };
    });
  } catch (thrown) {
    const error = toShadowferryError(thrown);
    if (error.kind === 'input' || error.kind === 'internal') throw error;
    const nics = store.nics(vm);
    if (nic !== undefined && nics.length > 0) checkNic(vm, nic, nics);
    const wanted = nic === undefined ? nics : [nic];
    if (wanted.length === 0)
      throw new ShadowferryError('NO_SHADOW', { nic: 'any', vm, why: error.message }, { cause: error });
    return wanted.map((id) => lastKnown(store, vm, id, error));
  }
  return seen.looks.map(
    (look) => keepLook(store, vm, look, 'show') ?? lastKnown(store, vm, look.nic, errorOf(look)),
  );
}

function errorOf({ nic, error }: Look): ShadowferryError {
  return error ?? new ShadowferryError('INTERNAL', { why: `NIC ${nic} showed nothing and said nothing` });
}

function noDirect(vm: string, nic: string | undefined) {
  return { field: '--nic', value: nic ?? 'any', where: `VM "${vm}"`, allowed: '(none has a direct device)' };
}

/** @throws UNKNOWN_DEVICE */
export function checkNic(vm: string, nic: string, nics: readonly string[]): void {
  if (nics.includes(nic)) return;
  const allowed = nics.join(', ') || '(none has a direct device)';
  throw new ShadowferryError('UNKNOWN_DEVICE', { field: '--nic', value: nic, where: `VM "${vm}"`, allowed });
}
