/** Changes of ownership as they happen: a host learns by it that a VM came to it or left. */
import { pauseFor } from '../../base/pause-for.ts';
import { ShadowferryError } from '../../errors.ts';
import { ownershipOf } from '../record.ts';
import type { Ownership } from '../store.ts';
import type { EtcdClient } from './client.ts';
import { type Keys, namesIn, vmValue } from './keys.ts';
import { watch } from './watch.ts';
import type { Pair } from './wire.ts';

export type OwnershipChange =
  /** All records: first, and again when changes may have been missed. Whoever is not in it is owned by nobody. */
  | { kind: 'all'; records: Ownership[]; reason: string }
  | { kind: 'changed'; record: Ownership }
  | { kind: 'forgotten'; vm: string }
  /** One record cannot be read; nothing is known about its VM. The watch goes on. */
  | { kind: 'damaged'; vm: string; error: ShadowferryError };

function changeOf({ key, value }: Pair): OwnershipChange {
  const [vm = ''] = namesIn(key, 1);
  try {
    const record = ownershipOf(vm, vmValue.parse(key, value));
    return record === undefined ? { kind: 'forgotten', vm } : { kind: 'changed', record };
  } catch (error) {
    if (!(error instanceof ShadowferryError)) throw error;
    return { kind: 'damaged', vm, error };
  }
}

/** Between two looks at an etcd that cannot be reached, ms. */
const AGAIN_MS = 500;

/** @throws the store's errors other than STORE_UNREACHABLE, which is waited out */
export async function* watchOwnership(
  client: EtcdClient,
  keys: Keys,
  signal: AbortSignal,
): AsyncGenerator<OwnershipChange> {
  let reason = 'the watch begins';
  while (!signal.aborted) {
    let from: bigint;
    try {
      const limit = AbortSignal.any([client.limit(undefined), signal]);
      const { pairs, revision } = await client.all(keys.vms, limit);
      const all = pairs.map(changeOf);
      yield { kind: 'all', records: all.flatMap((each) => ('record' in each ? [each.record] : [])), reason };
      yield* all.filter(({ kind }) => kind === 'damaged');
      from = BigInt(revision) + 1n;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ShadowferryError && error.code === 'STORE_UNREACHABLE')) throw error;
      await pauseFor(AGAIN_MS, signal);
      continue;
    }
    for await (const watched of watch(client, keys.vms, from, signal)) {
      if (watched.kind === 'gap') {
        reason = watched.reason;
        break;
      }
      for (const event of watched.events) {
        if (event.kind === 'put') yield changeOf(event.pair);
        else yield { kind: 'forgotten', vm: namesIn(event.key, 1)[0] ?? '' };
      }
    }
  }
}
