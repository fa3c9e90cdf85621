/** Another host as the destination of a migration: its daemon does what is to be done there, by its own journal. */

import { deadline } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { ShadowferryError } from '../../errors.ts';
import type { HostDevice } from '../../host/host.ts';
import type { DestinationHost, Incoming, Order, Receiving } from '../../migration/destination/destination.ts';
import type { IncomingState } from '../../migration/protocol/incoming.ts';
import type { ToDestination } from '../../migration/protocol/messages.ts';
import type { DestinationPeer } from '../../migration/protocol/peer.ts';
import type { HandOver } from '../../migration/protocol/record.ts';
import { type RunLog, step } from '../../migration/run.ts';
import type { DestinationUndo } from '../../migration/undo.ts';
import type { TargetFacts } from '../../storage/model.ts';
import { PEER_API } from '../api/contract-peer.ts';
import type { PeerLink } from './link.ts';
import { RemoteIncoming } from './remote-incoming.ts';
import { orderText } from './told.ts';

/** For questions before anything is made, ms. */
const ASK_MS = 15_000;
/** Until QEMU listens there: claims, taps, its start. */
const RESERVE_MS = 60_000;
/** Until what was made there is gone; who cannot be reached so long cleans up by itself. */
const UNDO_MS = 15_000;
const LOOK_MS = 20;
/** Hand-overs that are remembered. */
const KEPT = 256;

export class RemoteDestination implements DestinationHost, DestinationPeer {
  readonly #link: PeerLink;
  /** Hand-overs of this process, by the migration's id. */
  readonly #handOvers = new Map<string, HandOver>();

  constructor(link: PeerLink) {
    this.#link = link;
  }

  get name(): string {
    return this.#link.name;
  }

  async devices(): Promise<readonly HostDevice[]> {
    const { items } = await this.#link.surely(PEER_API.peerDevices, { params: {}, query: {} }, asking());
    return items;
  }

  model({ signal, ...query }: Parameters<DestinationHost['model']>[0]) {
    return this.#link.surely(PEER_API.peerModel, { params: {}, query }, asking(signal));
  }

  receiving(signal: AbortSignal): Promise<Receiving> {
    return this.#link.surely(PEER_API.peerReceiving, { params: {}, query: {} }, asking(signal));
  }

  async places(paths: readonly string[], signal: AbortSignal): Promise<readonly TargetFacts[]> {
    const body = { paths: [...paths] };
    const { items } = await this.#link.surely(
      PEER_API.peerPlaces,
      { params: {}, query: {}, body },
      asking(signal),
    );
    return items;
  }

  async answerUnreachable(...[absent, addresses]: Parameters<DestinationHost['answerUnreachable']>) {
    const { vm, nic, network } = absent;
    const body = { vm, nic, network, addresses: [...addresses] };
    await this.#link.call(PEER_API.peerAbsent, { params: {}, query: {}, body });
  }

  async reserve(order: Order, log: RunLog, cancel: AbortSignal): Promise<Incoming> {
    const { handOver } = order;
    this.#handOvers.set(handOver.id, handOver);
    // an older one is asked for, where it is needed after all
    const [oldest] = this.#handOvers.keys();
    if (oldest !== undefined && this.#handOvers.size > KEPT) this.#handOvers.delete(oldest);
    const undo = [{ kind: 'end-destination', host: this.name } as const];
    await this.#link.warm(deadline(`an answer of host "${this.name}"`, ASK_MS, cancel));
    return step(log, 'reserve', `make ready on ${this.name}`, { undo }, async () => {
      const signal = deadline(`the start of QEMU on host "${this.name}"`, RESERVE_MS, cancel);
      const body = { order: orderText(order) };
      const { state } = await this.#link.surely(
        PEER_API.peerReserve,
        { params: {}, query: {}, body },
        signal,
      );
      const incoming = new RemoteIncoming(handOver, state, this.#link, log);
      try {
        await incoming.reserved(signal);
        return incoming;
      } catch (error) {
        incoming.close();
        throw error;
      }
    });
  }

  /**
   * Tells the other daemon that the migration goes back, and waits until it has taken back all that it made: whatever
   * the step was, as that is one thing over there.
   * @throws PEER_UNREACHABLE: it finds out by itself then, as nobody asks for the commit any more
   */
  async undo({ migration }: { vm: string; migration: string }, _undo: DestinationUndo): Promise<void> {
    const signal = deadline(`the end of what host "${this.name}" made`, UNDO_MS);
    const handOver = await this.#handOverOf(migration, signal);
    if (handOver === undefined) return;
    const message = { kind: 'cancel', handOver } as const;
    for (;;) {
      const state = await this.tell(message, signal);
      if (state === undefined || state.kind === 'discarded') break;
      if (['starting', 'active', 'attached', 'settled', 'lost'].includes(state.kind)) {
        const why = `host "${this.name}" runs the VM ("${state.kind}")`;
        throw new ShadowferryError('MIGRATION_FAILED', { why });
      }
      await pauseFor(LOOK_MS, signal); // the next question says that time is over
    }
    this.#handOvers.delete(migration);
  }

  async tell(message: ToDestination, signal: AbortSignal): Promise<IncomingState | undefined> {
    const { state } = await this.#link.surely(
      PEER_API.peerTell,
      { params: {}, query: {}, body: { message } },
      signal,
    );
    return state ?? undefined;
  }

  /** Where the destination takes the rest of the memory of a post-copy whose link broke; undefined: nowhere yet. */
  async listens(id: string, signal: AbortSignal): Promise<string | undefined> {
    const { told } = await this.#link.surely(PEER_API.peerReport, { params: { id }, query: {} }, signal);
    return told.flatMap(({ what }) => (what.kind === 'listening' ? [what.uri] : [])).at(-1);
  }

  /** The hand-over of a migration, also of one that an earlier process began; undefined: nothing is known there. */
  async #handOverOf(id: string, signal: AbortSignal): Promise<HandOver | undefined> {
    const known = this.#handOvers.get(id);
    if (known !== undefined) return known;
    try {
      const { handOver } = await this.#link.surely(
        PEER_API.peerReport,
        { params: { id }, query: { after: Number.MAX_SAFE_INTEGER } },
        signal,
      );
      return handOver;
    } catch (error) {
      if (error instanceof ShadowferryError && error.code === 'UNKNOWN_MIGRATION') return undefined;
      throw error;
    }
  }
}

const asking = (signal?: AbortSignal) => deadline('an answer of the destination', ASK_MS, signal);
