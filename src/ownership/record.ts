/** What a store keeps about a VM and a device, and the changes to it: pure, so that all stores agree. */
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import type { ClaimRequest, DeviceClaim, HandOverAttempt, HandOverOutcome, Ownership } from './store.ts';

/** How many changes are remembered; an attempt can be resolved until the record has changed so many times. */
export const REMEMBERED = 16;

const Change = z.object({
  epoch: z.number().int().positive(),
  /** null: the VM was forgotten. */
  owner: z.string().nullable(),
  /** Which attempt made it; null for a registration. */
  attempt: z.string().nullable(),
  atMs: z.number(),
});

/** The record of one VM. `owner` null: it was forgotten, and only its epoch is kept. */
export const VmRecord = z.object({
  owner: z.string().nullable(),
  epoch: z.number().int().positive(),
  /** The newest first, one for an epoch. */
  changes: z.array(Change),
});
export type VmRecord = z.infer<typeof VmRecord>;

/** What is kept about a claimed device. */
export const ClaimValue = z.object({ vm: z.string(), migration: z.string().optional(), atMs: z.number() });
export type ClaimValue = z.infer<typeof ClaimValue>;

/** The attempt in whose name a withdrawal is remembered. */
const withdrawalOf = (attempt: string) => `withdrawn:${attempt}`;

function changed(
  before: VmRecord | undefined,
  owner: string,
  attempt: string | null,
  atMs: number,
): VmRecord {
  const epoch = (before?.epoch ?? 0) + 1;
  const changes = [{ epoch, owner, attempt, atMs }, ...(before?.changes ?? [])].slice(0, REMEMBERED);
  return { owner, epoch, changes };
}

export function ownershipOf(vm: string, record: VmRecord | undefined): Ownership | undefined {
  return record?.owner == null ? undefined : { vm, owner: record.owner, epoch: record.epoch };
}

export function notOwner(vm: string, host: string, record: VmRecord | undefined): ShadowferryError {
  return new ShadowferryError('NOT_OWNER', {
    vm,
    host,
    owner: record?.owner ?? 'nobody',
    epoch: record?.epoch ?? 0,
  });
}

/** The record to write, or undefined when the VM is registered for this host. @throws NOT_OWNER */
export function registered(
  vm: string,
  owner: string,
  before: VmRecord | undefined,
  atMs: number,
): VmRecord | undefined {
  if (before?.owner == null) return changed(before, owner, null, atMs);
  if (before.owner !== owner) throw notOwner(vm, owner, before);
  return undefined;
}

/**
 * The record to write, or undefined when this attempt was committed before.
 * @throws NOT_OWNER, HANDOVER_WITHDRAWN
 */
export function handedOver(
  { attempt, expected, to }: HandOverAttempt,
  before: VmRecord | undefined,
  atMs: number,
): VmRecord | undefined {
  const { vm, owner, epoch } = expected;
  const next = before?.changes.find((change) => change.epoch === epoch + 1);
  if (next?.attempt === attempt) return undefined;
  if (next?.attempt === withdrawalOf(attempt)) {
    throw new ShadowferryError('HANDOVER_WITHDRAWN', { vm, attempt, host: to });
  }
  if (before === undefined || before.owner !== owner || before.epoch !== epoch) {
    throw notOwner(vm, owner, before);
  }
  return changed(before, to, attempt, atMs);
}

/** What is known about an attempt: how it ended, or the record that withdraws it if it is written. */
export type Resolution = { known: HandOverOutcome } | { withdraw: VmRecord; known?: never };

/**
 * @throws STORE_DAMAGED when the record is older than the one that the attempt began from, HANDOVER_UNKNOWN when the
 *   attempt is not remembered any more
 */
export function resolution(
  { attempt, expected, to }: HandOverAttempt,
  now: VmRecord | undefined,
  atMs: number,
): Resolution {
  const { vm, owner, epoch } = expected;
  if (now === undefined || now.epoch < epoch) {
    throw new ShadowferryError('STORE_DAMAGED', {
      key: vm,
      problem: `epoch ${epoch} was seen before, and now there is ${now === undefined ? 'no record' : `epoch ${now.epoch}`}`,
    });
  }
  const record = ownershipOf(vm, now);
  const withdrawn = (reason: string): Resolution => ({ known: { action: 'withdrawn', reason, record } });
  const next = now.changes.find((change) => change.epoch === epoch + 1);
  if (next?.attempt === attempt) {
    return { known: { action: 'committed', reason: `epoch ${next.epoch} is the one it made`, record } };
  }
  if (next?.attempt === withdrawalOf(attempt)) return withdrawn('it was withdrawn');
  if (next !== undefined)
    return withdrawn(`epoch ${next.epoch} was made by ${next.attempt ?? 'a registration'}`);
  if (now.epoch > epoch) {
    throw new ShadowferryError('HANDOVER_UNKNOWN', {
      vm,
      host: to,
      attempt,
      why: `the record has changed ${now.epoch - epoch} times since, and ${REMEMBERED} changes are remembered`,
    });
  }
  // a forgotten VM gets a new epoch when it comes back: no late message can find its old record
  if (now.owner === null) return withdrawn('the VM was forgotten');
  if (now.owner !== owner) {
    throw new ShadowferryError('STORE_DAMAGED', {
      key: vm,
      problem: `epoch ${epoch} belonged to "${owner}" and now to "${now.owner}"`,
    });
  }
  return { withdraw: changed(now, owner, withdrawalOf(attempt), atMs) };
}

/** The record to write, or undefined when there is nothing to forget. */
export function forgotten(before: VmRecord | undefined): VmRecord | undefined {
  return before?.owner == null ? undefined : { ...before, owner: null };
}

/** The claim to write, or undefined when it may stay as it is. @throws DEVICE_CLAIMED_TWICE */
export function claimed(
  request: ClaimRequest,
  before: ClaimValue | undefined,
  atMs: number,
): ClaimValue | undefined {
  const { host, device, vm, migration } = request;
  if (before === undefined) return { vm, atMs, ...(migration === undefined ? {} : { migration }) };
  const other = before.migration !== undefined && migration !== undefined && before.migration !== migration;
  if (before.vm !== vm || other) {
    const by = before.migration === undefined ? '' : ` for migration ${before.migration}`;
    throw new ShadowferryError('DEVICE_CLAIMED_TWICE', {
      field: `device of host ${host}, held by VM "${before.vm}"${by}`,
      value: device,
    });
  }
  return before.migration !== undefined && migration === undefined ? { vm, atMs: before.atMs } : undefined;
}

/** Whether a release frees this claim. */
export function frees(request: ClaimRequest, claim: ClaimValue): boolean {
  const { vm, migration } = request;
  return claim.vm === vm && (migration === undefined || claim.migration === migration);
}

export function deviceClaim(host: string, device: string, claim: ClaimValue): DeviceClaim {
  const { vm, migration, atMs } = claim;
  return { host, device, vm, atMs, ...(migration === undefined ? {} : { migration }) };
}
