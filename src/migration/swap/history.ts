/** What the journal and the store of shadows say of swaps and of devices that are gone. Reads only. */
import { z } from 'zod';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { JournalMigration } from '../journal.ts';
import type { LastKnown } from './run.ts';

/** The request of a swap in the journal; that of a migration has no `kind`. */
const Kept = z.object({
  kind: z.enum(['swap', 'rescue']),
  device: z.string().optional(),
  with: z.string(),
});

/** What was asked of a swap; undefined for a migration. */
export function swapOf(entry: Pick<JournalMigration, 'request'>): z.infer<typeof Kept> | undefined {
  return Kept.safeParse(JSON.parse(entry.request)).data;
}

/**
 * The newest known shadow of a NIC that shows its device: what was seen after the device had gone says nothing of it.
 */
export function lastKnownShadow(store: ShadowStore, vm: string, nic: string): LastKnown | undefined {
  for (const version of store.versions(vm, nic).reverse()) {
    const shadow = store.shadow(version);
    if (shadow?.hardware !== undefined) {
      return { shadow, from: `version ${version.seq}, by ${version.by}`, seenAtMs: version.lastSeenMs };
    }
  }
  return undefined;
}
