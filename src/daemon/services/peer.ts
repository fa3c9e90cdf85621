/** What the daemons of other hosts ask. Each host may ask about its own migrations only. */
import { nowMs } from '../../base/clock.ts';
import { ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { qemuOfDirectory } from '../../hypervisor/qemu/of-directory.ts';
import type { DestinationHost } from '../../migration/destination/destination.ts';
import type { IncomingService } from '../../migration/incoming/service.ts';
import type { Journal } from '../../migration/journal.ts';
import { outgoingOf } from '../../migration/recovery/outgoing.ts';
import { PEER_API } from '../api/contract-peer.ts';
import { bind, type CallContext, type PeerHandlers } from '../api/handlers.ts';

export interface PeerServices {
  incoming: Pick<IncomingService, 'open' | 'reserve' | 'tell' | 'stage' | 'report' | 'handOverOf'>;
  /** This host as a destination, for what is asked before anything is made. */
  destination: Pick<DestinationHost, 'devices' | 'model' | 'receiving' | 'places' | 'answerUnreachable'>;
  host: Host;
  journal: Journal;
}

const ASK_MS = 15_000;

/** @throws FORBIDDEN: who is no peer does not come here, and a peer asks for itself */
function sameHost({ principal }: CallContext, source: string): void {
  const { peer, name = 'nobody', role = 'none' } = principal ?? {};
  if (peer === source) return;
  throw new ShadowferryError('FORBIDDEN', { principal: name, role, needed: `peer, as host "${source}"` });
}

export function makePeerHandlers({ incoming, destination, host, journal }: PeerServices): PeerHandlers {
  return {
    peerClock: bind(PEER_API.peerClock, () => ({ host: host.name, nowMs: nowMs() })),
    peerDevices: bind(PEER_API.peerDevices, async () => ({ items: [...(await destination.devices())] })),
    peerModel: bind(PEER_API.peerModel, ({ query }) =>
      destination.model({ ...query, signal: AbortSignal.timeout(ASK_MS) }),
    ),
    peerReceiving: bind(PEER_API.peerReceiving, async () => {
      const { postcopy, capabilities } = await destination.receiving(AbortSignal.timeout(ASK_MS));
      return { postcopy, capabilities: [...capabilities] };
    }),
    peerPlaces: bind(PEER_API.peerPlaces, async ({ body: { paths } }) => ({
      items: [...(await destination.places(paths, AbortSignal.timeout(ASK_MS)))],
    })),
    peerAbsent: bind(PEER_API.peerAbsent, async ({ body }, context) => {
      const { vm, nic, network, addresses } = body;
      const about = incoming.open().find(({ handOver }) => handOver.vm === vm);
      // to stop is always right; to begin is for the VM that comes from there
      if (addresses.length > 0) sameHost(context, about?.handOver.source ?? 'of a VM that comes here');
      await destination.answerUnreachable({ vm, nic, network }, addresses);
      return {};
    }),
    peerReserve: bind(PEER_API.peerReserve, async ({ body: { order } }, context) => {
      sameHost(context, order.handOver.source);
      return { state: await incoming.reserve(order) };
    }),
    peerTell: bind(PEER_API.peerTell, ({ body: { message } }, context) => {
      sameHost(context, message.handOver.source);
      return { state: incoming.tell(message) ?? null };
    }),
    peerStage: bind(PEER_API.peerStage, ({ params: { id }, body }, context) => {
      sameHost(context, incoming.handOverOf(id).source);
      return { state: incoming.stage(id, body.nics) };
    }),
    peerReport: bind(PEER_API.peerReport, async ({ params: { id }, query }, context) => {
      const handOver = incoming.handOverOf(id);
      sameHost(context, handOver.source);
      const { state, told } = await incoming.report(id, query.after, query.waitMs);
      return { handOver: { ...handOver }, state, told, nowMs: nowMs() };
    }),
    peerOutgoing: bind(PEER_API.peerOutgoing, ({ params: { id } }, context) => {
      const migration = journal.find(id);
      if (migration !== undefined) sameHost(context, migration.destination);
      const there = () => qemuOfDirectory(host.vmDirectory(migration?.vm ?? '')).length > 0;
      return { peer: outgoingOf(journal, migration, there) };
    }),
  };
}
