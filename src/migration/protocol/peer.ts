/** The other daemon, as a recovery speaks to it. What stands behind it may be another process or another host. */
import type { IncomingState } from './incoming.ts';
import type { ToDestination } from './messages.ts';

/** The destination's daemon as the source's recovery speaks to it. */
export interface DestinationPeer {
  /**
   * Says something to the destination's daemon. May be repeated without harm.
   * @returns the state in its journal after the message; undefined where it knows of no such hand-over
   * @throws PEER_UNREACHABLE when there is no answer before `signal` aborts: the message may have arrived all the same
   */
  tell(message: ToDestination, signal: AbortSignal): Promise<IncomingState | undefined>;
  /**
   * Where its QEMU takes the rest of the memory of a post-copy whose link broke; undefined: nowhere yet. Without this
   * such a rest cannot be sent.
   * @throws PEER_UNREACHABLE
   */
  listens?(id: string, signal: AbortSignal): Promise<string | undefined>;
}
