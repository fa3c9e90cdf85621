/** What the source says of its half of a migration when the destination's daemon asks: from its journal. */
import { z } from 'zod';
import { handOverOf } from '../history.ts';
import type { Journal, JournalMigration } from '../journal.ts';
import type { SourcePeer } from '../protocol/destination-recovery.ts';

const StateText = z.object({ kind: z.string(), committed: z.boolean().optional() });

/**
 * How far it is. `over` is said only of what will never ask for the commit (again): what was not begun, goes back, or
 * went back.
 * @param there whether the source's QEMU runs
 */
export function outgoingOf(
  journal: Journal,
  migration: Pick<JournalMigration, 'id' | 'state' | 'ending'> | undefined,
  there: () => boolean,
): Exclude<SourcePeer, 'unreachable'> {
  if (migration === undefined) return 'over';
  const { id, state, ending } = migration;
  const committed = () => (there() ? 'committed' : 'source-gone');
  if (ending === 'rolled-back' || ending === 'planned') return 'over';
  if (ending === 'completed' || ending === 'degraded') return committed();
  // it got stuck on the way forward, or on the way back: without the question to the store it can only be the latter
  if (ending === 'stuck') return (handOverOf(journal, id)?.asked ?? false) ? 'before' : 'over';
  const parsed = StateText.parse(JSON.parse(state));
  if (parsed.kind === 'rolling-back') return 'over';
  return parsed.committed === true ? committed() : 'before';
}
