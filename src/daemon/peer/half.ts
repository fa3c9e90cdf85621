/** What a daemon has of other hosts: those that it sends VMs to, and its own half of what they send here. */
import type { Logger } from 'pino';
import { nowMs } from '../../base/clock.ts';
import { LocalDestination } from '../../migration/destination/local-host.ts';
import { IncomingJournal } from '../../migration/incoming/journal.ts';
import { QemuHands } from '../../migration/incoming/qemu-hands.ts';
import { IncomingService } from '../../migration/incoming/service.ts';
import type { Journal } from '../../migration/journal.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { PeerHandlers } from '../api/handlers.ts';
import type { DaemonConfig } from '../config/model.ts';
import { makePeerHandlers } from '../services/peer.ts';
import type { VmRegistry } from '../vms/registry.ts';
import { LateWrites } from '../work/late-writes.ts';
import { Peers } from './peers.ts';

export interface HalfOptions {
  config: DaemonConfig;
  /** File of the journal of what comes here. */
  path: string;
  registry: VmRegistry;
  journal: Journal;
  abilities: AbilityStore;
  shadows: ShadowStore;
  publish: (type: string, data: Record<string, unknown>) => void;
  log: Logger;
}

export interface Half {
  peers: Peers;
  incoming: IncomingService;
  /** What came here, for who asks what a VM suffers from. */
  arrivals: IncomingJournal;
  handlers: PeerHandlers;
  /** Stops what goes on here, and is safe to repeat; VMs run on. */
  stop: () => Promise<void>;
  close: () => void;
}

/** Opens the journal; nothing is driven before `incoming.recover`. */
export function openHalf(options: HalfOptions): Half {
  const { config, registry, journal, abilities, shadows, log } = options;
  const { host, ownership } = registry;
  const stores = { ownership, abilities, shadows };
  const peers = new Peers(config);
  const incomingJournal = new IncomingJournal(options.path);
  const publish = (type: string, data: Record<string, unknown>) => {
    log.info({ type, ...data, nowMs: nowMs() }, 'incoming migration');
    options.publish(type, data);
  };
  const late = new LateWrites({ log });
  const incoming = new IncomingService({
    ...{ host: host.name, journal: incomingJournal, ownership, vms: registry, publish },
    late: (what, write) => late.add(what, write),
    hands: new QemuHands(host, stores, incomingJournal),
    askSource: (handOver, signal) => peers.ask(handOver, signal),
    atOnce: config.queue.incoming,
    times: { patience: config.migration.patience * 1000 },
  });
  const destination = new LocalDestination(host, stores);
  return {
    ...{ peers, incoming, arrivals: incomingJournal },
    handlers: makePeerHandlers({ incoming, destination, host, journal }),
    stop: async () => {
      await incoming.stop();
      late.stop();
    },
    close: () => {
      peers.close();
      incomingJournal.dispose();
    },
  };
}
