/** Which hosts of the shared store were alive a moment ago; this one says so of itself. */
import type { Logger } from 'pino';
import { deadline } from '../../base/deadline.ts';
import { reasonOf } from '../../errors.ts';
import { type HostRecord, HostRegistry } from '../../ownership/etcd/hosts.ts';
import type { OwnershipConfig } from '../../ownership/open.ts';
import { sharedRead } from './shared-read.ts';

/** A list may take so long: the page of hosts is answered without it then. */
const ASK_MS = 2_000;
/** It is asked for so often at most. */
const PAUSE_MS = 50;

/** Those that are known to be alive, by name; undefined where that cannot be known. */
export type AskPresence = () => Promise<ReadonlyMap<string, HostRecord> | undefined>;

export interface Presence {
  ask: AskPresence;
  stop: () => Promise<void>;
}

/** Announces this host until it is stopped. Without a shared store nothing is known of others. */
export function startPresence(
  config: OwnershipConfig,
  self: Omit<HostRecord, 'atMs'>,
  log: Pick<Logger, 'info' | 'warn'>,
): Presence {
  if (config.kind === 'sqlite') return { ask: async () => undefined, stop: async () => {} };
  const { kind: _, ...etcd } = config;
  const registry = new HostRegistry(etcd);
  const ending = new AbortController();
  const announced = registry
    .announce(self, {
      signal: ending.signal,
      say: ({ announced: is, reason }) =>
        is
          ? log.info({ reason }, 'this host is announced')
          : log.warn({ reason }, 'this host is not announced'),
    })
    .catch((error: unknown) => log.warn({ why: reasonOf(error) }, 'this host cannot be announced'));
  return {
    ask: sharedRead(async () => {
      try {
        const list = await registry.list(deadline('the list of hosts', ASK_MS));
        return new Map(list.map((host) => [host.name, host]));
      } catch {
        return undefined;
      }
    }, PAUSE_MS),
    stop: async () => {
      ending.abort();
      await announced;
      registry.close();
    },
  };
}
