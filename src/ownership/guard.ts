/** Asked before a VM is started or resumed: nothing runs against the record, and nothing is guessed. */
import { ShadowferryError, toShadowferryError } from '../errors.ts';
import type { HandOverOptions, Ownership, OwnershipStore } from './store.ts';

/** What an operator takes upon himself; written down before it has an effect. */
export interface OverrideNote {
  vm: string;
  host: string;
  /** Who wants it, and why, in his words. */
  by: string;
  why: string;
  /** What stood against it. */
  against: string;
}

/**
 * An operator's word that no other host runs the VM. `audit` writes it where it stays, on this host's disk: it holds
 * only if that succeeds.
 */
export interface Override {
  by: string;
  why: string;
  audit: (note: OverrideNote) => Promise<void>;
}

export type Permission =
  | { allowed: true; reason: string; record: Ownership | undefined }
  | { allowed: false; reason: string; record: Ownership | undefined };

/**
 * Whether `host` may run the VM now. Never throws: a store that cannot be asked, or says what it should not, is a no.
 * An override is good for a store that cannot be asked; where a record names another host it is not, and `takeOver`
 * is the way.
 */
export async function mayRun(
  store: Pick<OwnershipStore, 'read'>,
  vm: string,
  host: string,
  options: { signal?: AbortSignal; override?: Override } = {},
): Promise<Permission> {
  const { signal, override } = options;
  let record: Ownership | undefined;
  try {
    record = await store.read(vm, signal);
  } catch (thrown) {
    const against = toShadowferryError(thrown).message;
    if (override === undefined) return { allowed: false, reason: against, record: undefined };
    const { by, why, audit } = override;
    try {
      await audit({ vm, host, by, why, against });
    } catch (error) {
      const reason = `${against}; the override of ${by} could not be written down: ${toShadowferryError(error).message}`;
      return { allowed: false, reason, record: undefined };
    }
    return { allowed: true, reason: `${by} overrides (${why}): ${against}`, record: undefined };
  }
  if (record === undefined) return { allowed: false, reason: 'no host owns the VM', record };
  if (record.owner !== host) {
    return { allowed: false, reason: `host "${record.owner}" owns the VM (epoch ${record.epoch})`, record };
  }
  return { allowed: true, reason: `host "${host}" owns the VM (epoch ${record.epoch})`, record };
}

/** @throws START_REFUSED when `mayRun` says no */
export async function requireMayRun(...args: Parameters<typeof mayRun>): Promise<Permission> {
  const [, vm, host] = args;
  const permission = await mayRun(...args);
  if (!permission.allowed) throw new ShadowferryError('START_REFUSED', { vm, host, why: permission.reason });
  return permission;
}

/**
 * Moves the record from a host that is dead for certain to `host`, by the word of an operator, which is written down
 * first. It is a hand-over like any other: one of several that try gets it.
 * @throws what `audit` throws, INPUT_FIELD when nobody owns the VM, and what `handOver` throws
 */
export async function takeOver(
  store: OwnershipStore,
  vm: string,
  host: string,
  { by, why, audit }: Override,
  options: HandOverOptions = {},
): Promise<Ownership> {
  const record = await store.read(vm, options.signal);
  if (record === undefined) {
    throw new ShadowferryError('INPUT_FIELD', { field: 'vm', problem: `no host owns "${vm}"` });
  }
  if (record.owner === host) return record;
  await audit({ vm, host, by, why, against: `host "${record.owner}" owns the VM (epoch ${record.epoch})` });
  return store.handOver(record, host, options);
}
