/** What the recovery of a migration is given, and what it gives. */
import type { Host } from '../../host/host.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { DestinationHost } from '../destination/destination.ts';
import type { MigrationEvent } from '../events.ts';
import type { Journal, JournalMigration } from '../journal.ts';
import type { DestinationPeer } from '../protocol/peer.ts';
import type { MigrationResult } from '../result.ts';
import type { RunningVm } from '../vm.ts';

export interface RecoveryDependencies {
  journal: Journal;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  /** Takes in what is captured on the way; nothing is kept when it is left out. */
  shadows?: ShadowStore | undefined;
  /** This host: the source of the migration, or the host of the swap. */
  host: Host;
  /** The destination as the steps in the journal may need it for their undo. Not asked for a swap. */
  destination: Pick<DestinationHost, 'name' | 'answerUnreachable' | 'undo'>;
  /** The daemon of the destination. Not asked for a swap. */
  peer: DestinationPeer;
  /** Times are ms since this recovery began. */
  emit: (event: MigrationEvent) => void;
  /** Ends the recovery, with the migration still open in the journal: it may be recovered again. */
  signal: AbortSignal;
}

export interface Recovered {
  result: MigrationResult;
  /** The VM where it is on this host, connected; owned by the caller. */
  vm?: RunningVm;
}

/**
 * Takes a migration (or swap) that a process left open to its end, back or forward, and closes it in the journal. Waits
 * as long as the decisions say `wait`, telling why by events. Safe to begin again at any point.
 * @throws what `signal` was aborted with; the migration is open then
 */
export type RecoverMigration = (
  entry: JournalMigration,
  dependencies: RecoveryDependencies,
) => Promise<Recovered>;
