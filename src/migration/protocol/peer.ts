/** The other daemon, as a recovery speaks to it. What stands behind it may be another process or another host. */
import type { IncomingState } from './incoming.ts';
import type { ToDestination } from './messages.ts';
import type { HandOver } from './record.ts';

/** The destination's daemon as the source's recovery speaks to it. */
export interface DestinationPeer {
  /**
   * Says something to the destination's daemon. May be repeated without harm.
   * @returns the state in its journal after the message; undefined where it knows of no such hand-over
   * @throws PEER_UNREACHABLE when there is no answer before `signal` aborts: the message may have arrived all the same
   */
  tell(message: ToDestination, signal: AbortSignal): Promise<IncomingState | undefined>;
  /**
   * Where its QEMU takes the stream, the newest place: after the link broke in post-copy it listens anew. Undefined when
   * it has not said so. Without this the rest of a post-copy cannot be sent.
   * @throws PEER_UNREACHABLE
   */
  listening?(handOver: HandOver, signal: AbortSignal): Promise<string | undefined>;
}
