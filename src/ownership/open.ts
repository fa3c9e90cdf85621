/** The ownership store that a configuration names. */
import type { EtcdConfig } from './etcd/config.ts';
import { EtcdOwnership } from './etcd/ownership.ts';
import { SqliteOwnership } from './sqlite.ts';
import type { OwnershipStore } from './store.ts';

export type OwnershipConfig = { kind: 'sqlite'; path: string } | ({ kind: 'etcd' } & EtcdConfig);

/** Opens it; etcd is connected to when it is first asked. Close it in the end. */
export function openOwnership(config: OwnershipConfig): OwnershipStore {
  if (config.kind === 'sqlite') return new SqliteOwnership(config.path);
  const { kind: _, ...etcd } = config;
  return new EtcdOwnership(etcd);
}
