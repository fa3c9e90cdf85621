import { z } from 'zod';

/** Every status of `query-migrate` in QEMU 7.2 to 11; `unknown` is one that a later QEMU added. */
export const MIGRATION_STATUSES = [
  'none',
  'setup',
  'cancelling',
  'cancelled',
  'active',
  'postcopy-device',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
  'completed',
  'failing',
  'failed',
  'colo',
  'pre-switchover',
  'device',
  'wait-unplug',
  'unknown',
] as const;

export const MigrationStatus = z.enum(MIGRATION_STATUSES).catch('unknown');
export type MigrationStatus = z.infer<typeof MigrationStatus>;

const OVER: readonly MigrationStatus[] = ['none', 'completed', 'failed', 'cancelled'];
/** Whether QEMU has no migration under way. */
export const migrationOver = (status: MigrationStatus): boolean => OVER.includes(status);

const count = z.number();

/** Progress of memory, in bytes where the name does not say otherwise. */
export const RamProgress = z.object({
  transferred: count,
  remaining: count,
  total: count,
  /** Pages that were all zero. */
  duplicate: count,
  /** Pages sent as they are. */
  normal: count,
  'normal-bytes': count,
  /** Pages dirtied per second, as of the last sync. */
  'dirty-pages-rate': count,
  /** Rounds over memory so far. */
  'dirty-sync-count': count,
  /** Throughput, Mbit/s. */
  mbps: count,
  'page-size': count,
  'pages-per-second': count.optional(),
  'multifd-bytes': count.optional(),
  /** Pages the destination asked for. */
  'postcopy-requests': count.optional(),
  'precopy-bytes': count.optional(),
  /** Sent while the vCPUs were stopped. */
  'downtime-bytes': count.optional(),
  'postcopy-bytes': count.optional(),
});
export type RamProgress = z.infer<typeof RamProgress>;

/** `query-migrate`, by QEMU's own names; times in ms. Fields that a status does not have are absent. */
export const MigrationInfo = z.object({
  /** QEMU leaves it out before the first migration. */
  status: MigrationStatus.default('none'),
  ram: RamProgress.optional(),
  disk: z.object({ transferred: count, remaining: count, total: count }).optional(),
  vfio: z.object({ transferred: count }).optional(),
  'total-time': count.optional(),
  /** The blackout, once completed. */
  downtime: count.optional(),
  'setup-time': count.optional(),
  'expected-downtime': count.optional(),
  'cpu-throttle-percentage': count.optional(),
  /** Destination, with the capability `postcopy-blocktime`. */
  'postcopy-blocktime': count.optional(),
  'postcopy-vcpu-blocktime': z.array(count).optional(),
  'error-desc': z.string().optional(),
  /** Why this VM cannot migrate now; absent when nothing hinders it. */
  'blocked-reasons': z.array(z.string()).optional(),
});
export type MigrationInfo = z.infer<typeof MigrationInfo>;
