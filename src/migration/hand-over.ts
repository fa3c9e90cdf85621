/**
 * The commit with a store that may be silent. A question that was not answered may have been done, may still be on its
 * way, or may be lost; going back on a guess would leave two hosts that both think they own the VM, or none.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, reasonOf, ShadowferryError } from '../errors.ts';
import type { HandOverAttempt, Ownership, OwnershipStore } from '../ownership/store.ts';
import { PROTOCOL_MS } from './protocol/messages.ts';
import { commitAttempt, type HandOver, returnAttempt, standingOf } from './protocol/record.ts';

export interface HandOverOptions {
  /** Told why we wait, each time that the store was silent. */
  waiting: (reason: string) => void;
  /** Between two questions to a store that does not answer, ms. */
  lookMs?: number;
}

/** With these the store says itself that it did not happen and will not. */
const SURELY_NOT: ReadonlySet<ErrorCode> = new Set(['NOT_OWNER', 'HANDOVER_WITHDRAWN', 'STORE_UNREACHABLE']);

/**
 * Whether an attempt was committed; if not, it never will be. Waits for the store as long as it takes: both QEMUs hold
 * the whole VM meanwhile, and only the store knows which one may run it.
 */
async function settleDoubt(
  store: Pick<OwnershipStore, 'resolveHandOver'>,
  attempt: HandOverAttempt,
  options: HandOverOptions,
): Promise<boolean> {
  for (;;) {
    try {
      return (await store.resolveHandOver(attempt)).action === 'committed';
    } catch (error) {
      options.waiting(reasonOf(error));
      await delay(options.lookMs ?? PROTOCOL_MS.look);
    }
  }
}

/**
 * Hands the VM over. When it returns, the destination owns it, durably; when it throws, the source owns it and this
 * hand-over cannot happen any more, however late the question arrives.
 * @returns the record that names the destination
 * @throws what the store said first
 */
export async function handOverSurely(
  store: Pick<OwnershipStore, 'handOver' | 'resolveHandOver'>,
  handOver: HandOver,
  options: HandOverOptions,
): Promise<Ownership> {
  const attempt = commitAttempt(handOver);
  try {
    return await store.handOver(attempt.expected, attempt.to, { attempt: attempt.attempt });
  } catch (error) {
    if (error instanceof ShadowferryError && SURELY_NOT.has(error.code)) throw error;
    if (!(await settleDoubt(store, attempt, options))) throw error;
    return { ...attempt.expected, owner: attempt.to, epoch: attempt.expected.epoch + 1 };
  }
}

/**
 * Gives a VM back that never ran on the destination and never will. Waits for the store as long as it takes: nobody may
 * run the VM meanwhile.
 * @returns whether the source owns it by this; false when the record is one that this hand-over cannot have led to
 */
export async function handBackSurely(
  store: Pick<OwnershipStore, 'handOver' | 'read'>,
  handOver: HandOver,
  options: HandOverOptions,
): Promise<boolean> {
  const { attempt, expected, to } = returnAttempt(handOver);
  for (;;) {
    try {
      const standing = standingOf(handOver, await store.read(handOver.vm));
      if (standing !== 'committed') return standing === 'returned';
      await store.handOver(expected, to, { attempt });
      return true;
    } catch (error) {
      // it may have been done all the same: the record tells
      options.waiting(reasonOf(error));
      await delay(options.lookMs ?? PROTOCOL_MS.look);
    }
  }
}

/**
 * The record of a VM that is not this host's; undefined when it is, and when the store is silent. Whoever goes back has
 * made sure before that the VM was not handed over, and needs no store for it; this is for a mistake in that.
 */
export async function otherOwner(
  store: Pick<OwnershipStore, 'read'>,
  vm: string,
  host: string,
  signal?: AbortSignal,
): Promise<Ownership | undefined> {
  let record: Ownership | undefined;
  try {
    record = await store.read(vm, signal);
  } catch {
    return undefined;
  }
  const known = record ?? { vm, owner: 'nobody', epoch: 0 };
  return known.owner === host ? undefined : known;
}
