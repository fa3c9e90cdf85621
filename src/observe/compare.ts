/** Finds the two sides of a comparison. */
import { ShadowferryError } from '../errors.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import type { ShadowStore } from '../shadow/store/store.ts';
import type { VmAccess } from './access.ts';
import { findVersion, type Operand, readShadowFile } from './operand.ts';
import { checkNic, presentShadows } from './present.ts';

/** One side of a comparison. */
export interface Side {
  /** For people: `web1 net0 version 7 (1.0.2.0)`, `./a.json`. */
  name: string;
  shadow: NetShadow;
  /** Why this is not the present state though it was asked for. */
  why?: ShadowferryError;
}

export interface CompareOptions {
  access: (vm: string) => VmAccess;
  store: ShadowStore;
  /** Which NIC; may be left out where there is only one. */
  nic: string | undefined;
}

/** The NIC of a VM that is meant. @throws INPUT_FIELD, UNKNOWN_DEVICE */
function chosenNic(vm: string, nics: readonly string[], nic: string | undefined): string {
  if (nic !== undefined) {
    checkNic(vm, nic, nics);
    return nic;
  }
  const [only, ...more] = nics;
  if (only !== undefined && more.length === 0) return only;
  const problem =
    only === undefined
      ? `no shadow of VM "${vm}" is known yet; "shadowferry shadow show ${vm}" takes one`
      : `is missing, and VM "${vm}" has several: ${nics.join(', ')}`;
  throw new ShadowferryError('INPUT_FIELD', { field: '--nic', problem });
}

/**
 * Reads one side.
 * @param field names the operand in errors
 * @throws INPUT_FIELD, UNKNOWN_VM, UNKNOWN_DEVICE, UNKNOWN_VERSION, NO_SHADOW
 */
export async function resolveSide(field: string, operand: Operand, options: CompareOptions): Promise<Side> {
  const { store, nic } = options;
  if (operand.kind === 'file') {
    return { name: operand.path, shadow: await readShadowFile(field, operand.path, nic) };
  }
  const { vm } = operand;
  const access = options.access(vm);
  await access.place(); // says what is wrong with the name
  if (operand.kind === 'version') {
    const id = chosenNic(vm, store.nics(vm), nic);
    const version = findVersion(store, { field, vm, nic: id }, operand.version);
    const shadow = store.shadow(version);
    if (shadow === undefined) {
      const problem = `version ${version.seq} was written by another version of Shadowferry and is not read any more`;
      throw new ShadowferryError('INPUT_FIELD', { field, problem });
    }
    return { name: `${vm} ${id} version ${version.seq} (${version.label})`, shadow };
  }
  const all = await presentShadows(access, store, nic);
  const id = chosenNic(
    vm,
    all.map((each) => each.nic),
    nic,
  );
  const known = all.find((each) => each.nic === id);
  if (known === undefined) throw new ShadowferryError('INTERNAL', { why: `NIC "${id}" was not looked at` });
  const { version, shadow, live, why } = known;
  const when = live ? 'now' : 'last known';
  return {
    name: `${vm} ${id} ${when}, version ${version.seq} (${version.label})`,
    shadow,
    ...(why === undefined ? {} : { why }),
  };
}
