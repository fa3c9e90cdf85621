/**
 * Typed verbs over `Qmp.execute`: one function per QEMU command, no logic. Each throws what `execute` throws.
 * `signal` ends the wait for the reply, not QEMU's work.
 */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { ExecuteOptions, Qmp } from './client.ts';
import { MigrationInfo } from './migration-info.ts';

const VmStatus = z.object({ status: z.string(), running: z.boolean() });
/** `status` is QEMU's run state: `running`, `paused`, `inmigrate`, `postmigrate`, `finish-migrate`… */
export type VmStatus = z.infer<typeof VmStatus>;

export function queryStatus(qmp: Qmp, options?: ExecuteOptions): Promise<VmStatus> {
  return qmp.execute('query-status', undefined, { ...options, schema: VmStatus });
}

export function stop(qmp: Qmp, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'stop', undefined, options);
}

export function cont(qmp: Qmp, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'cont', undefined, options);
}

/** Ends QEMU. The connection closing instead of a reply is success too. */
export async function quit(qmp: Qmp, options?: ExecuteOptions): Promise<void> {
  try {
    await run(qmp, 'quit', undefined, options);
  } catch (error) {
    if (!(error instanceof ShadowferryError && error.code === 'QMP_CLOSED')) throw error;
  }
}

// Migration

export function queryMigrate(qmp: Qmp, options?: ExecuteOptions): Promise<MigrationInfo> {
  return qmp.execute('query-migrate', undefined, { ...options, schema: MigrationInfo });
}

const Capabilities = z.array(z.object({ capability: z.string(), state: z.boolean() }));

/** Every migration capability this QEMU offers, and whether it is on. */
export async function queryMigrateCapabilities(
  qmp: Qmp,
  options?: ExecuteOptions,
): Promise<Map<string, boolean>> {
  const list = await qmp.execute('query-migrate-capabilities', undefined, {
    ...options,
    schema: Capabilities,
  });
  return new Map(list.map(({ capability, state }) => [capability, state]));
}

export function migrateSetCapabilities(
  qmp: Qmp,
  states: Readonly<Record<string, boolean>>,
  options?: ExecuteOptions,
): Promise<void> {
  const capabilities = Object.entries(states).map(([capability, state]) => ({ capability, state }));
  return run(qmp, 'migrate-set-capabilities', { capabilities }, options);
}

/** QEMU's own names and units: `max-bandwidth` in bytes/s, `downtime-limit` in ms. */
export function migrateSetParameters(
  qmp: Qmp,
  parameters: Readonly<Record<string, string | number | boolean>>,
  options?: ExecuteOptions,
): Promise<void> {
  return run(qmp, 'migrate-set-parameters', parameters, options);
}

/** Starts the migration and returns; follow it with `MIGRATION` events or `queryMigrate`. */
export function migrate(
  qmp: Qmp,
  uri: string,
  options: ExecuteOptions & { resume?: boolean } = {},
): Promise<void> {
  const { resume, ...rest } = options;
  return run(qmp, 'migrate', { uri, ...(resume === undefined ? {} : { resume }) }, rest);
}

/** On a QEMU started with `-incoming defer`: listens. */
export function migrateIncoming(qmp: Qmp, uri: string, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'migrate-incoming', { uri }, options);
}

export function migrateCancel(qmp: Qmp, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'migrate_cancel', undefined, options);
}

/** Goes on from the named pause; QEMU refuses when it is not in that state. */
export function migrateContinue(
  qmp: Qmp,
  state: 'pre-switchover' = 'pre-switchover',
  options?: ExecuteOptions,
): Promise<void> {
  return run(qmp, 'migrate-continue', { state }, options);
}

export function migrateStartPostcopy(qmp: Qmp, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'migrate-start-postcopy', undefined, options);
}

/** Takes a post-copy's link for dead, on either side; QEMU goes to `postcopy-paused` a moment later. */
export function migratePause(qmp: Qmp, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'migrate-pause', undefined, options);
}

/** On the destination of a paused post-copy: listens anew. */
export function migrateRecover(qmp: Qmp, uri: string, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'migrate-recover', { uri }, options);
}

const DirtyRate = z.object({
  status: z.enum(['unstarted', 'measuring', 'measured']),
  /** MiB changed at least once in the time of the measurement, per second of it. */
  'dirty-rate': z.number().optional(),
});

/** Measures how much of its memory the guest changes in some seconds, by samples of pages; returns at once. */
export function calcDirtyRate(qmp: Qmp, seconds: number, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'calc-dirty-rate', { 'calc-time': seconds }, options);
}

/** What `calcDirtyRate` found, bytes per second; undefined while it measures, or when it was not asked. */
export async function queryDirtyRate(qmp: Qmp, options?: ExecuteOptions): Promise<number | undefined> {
  const rate = await qmp.execute('query-dirty-rate', undefined, { ...options, schema: DirtyRate });
  const found = rate['dirty-rate'];
  return rate.status !== 'measured' || found === undefined || found < 0 ? undefined : found * 1024 ** 2;
}

// Devices

/** A device as QEMU's `-device` JSON takes it. */
export type DeviceSpec = Readonly<{ driver: string; id: string } & Record<string, unknown>>;

export function deviceAdd(qmp: Qmp, device: DeviceSpec, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'device_add', device, options);
}

/** Only asks the guest; `unplugDevice` waits for the answer. */
export function deviceDel(qmp: Qmp, id: string, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'device_del', { id }, options);
}

/** A network back end as QEMU's `-netdev` JSON takes it. */
export type NetdevSpec = Readonly<{ type: string; id: string } & Record<string, unknown>>;

export function netdevAdd(qmp: Qmp, netdev: NetdevSpec, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'netdev_add', netdev, options);
}

export function netdevDel(qmp: Qmp, id: string, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'netdev_del', { id }, options);
}

/** Sets the link of a NIC (by device id) or of a back end. */
export function setLink(qmp: Qmp, name: string, up: boolean, options?: ExecuteOptions): Promise<void> {
  return run(qmp, 'set_link', { name, up }, options);
}

export interface Announcement {
  /** Milliseconds before the first repetition, the longest pause, and the pause's growth. */
  initial?: number;
  max?: number;
  step?: number;
  rounds?: number;
  /** Ids of the NICs to announce; all when left out. */
  interfaces?: readonly string[];
}

/** Lets QEMU send self-announcements (RARP) for its NICs. The defaults are those of QEMU's own migration. */
export function announceSelf(
  qmp: Qmp,
  announcement: Announcement = {},
  options?: ExecuteOptions,
): Promise<void> {
  return run(qmp, 'announce-self', { initial: 50, max: 550, rounds: 5, step: 100, ...announcement }, options);
}

const QomEntries = z.array(z.object({ name: z.string(), type: z.string() }));

/** Children and properties at a QOM path; `type` of a child is `child<driver>`. */
export function qomList(
  qmp: Qmp,
  path: string,
  options?: ExecuteOptions,
): Promise<z.infer<typeof QomEntries>> {
  return qmp.execute('qom-list', { path }, { ...options, schema: QomEntries });
}

async function run(
  qmp: Qmp,
  command: string,
  args: Readonly<Record<string, unknown>> | undefined,
  options: ExecuteOptions | undefined,
): Promise<void> {
  await qmp.execute(command, args, options);
}
