/** The peer of the outage bench: the same guest with one virtio NIC, moved by QEMU alone, as a manager of VMs does it. */
import { mkdirSync } from 'node:fs';
import { nowMs } from '../src/base/clock.ts';
import { deadline } from '../src/base/deadline.ts';
import { ShadowferryError } from '../src/errors.ts';
import {
  cont,
  migrate,
  migrateIncoming,
  migrateSetCapabilities,
  migrateSetParameters,
  queryMigrate,
} from '../src/hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../src/hypervisor/qmp/migration-info.ts';
import { type Lab, NETWORK } from '../src/lab/lab.ts';
import { allTaps, launchVm, type RunningVm } from '../src/migration/vm.ts';

export interface PlainOptions {
  /** Blackout that pre-copy aims at, ms. */
  downtimeLimitMs: number;
}

export interface PlainResult {
  /** vCPUs stopped, from the source's STOP to the destination's RESUME, ms. */
  blackoutMs: number;
  /** Ms since the epoch. */
  startedAtMs: number;
  marks: { name: string; atMs: number }[];
  totalMs: number;
  memory: MigrationInfo;
}

const PORT = 4444;

/**
 * Pre-copy without any pause before the switchover: the destination runs as soon as QEMU has loaded the stream, with
 * no word from anybody. One stream, full bandwidth, QEMU's own announcements.
 * @throws ShadowferryError MIGRATION_FAILED, DEADLINE, and what starting QEMU throws
 */
export async function migratePlain(lab: Lab, vm: RunningVm, options: PlainOptions): Promise<PlainResult> {
  const signal = deadline('the plain migration', 120_000);
  const host = lab.hosts.b;
  const startedAtMs = nowMs();
  mkdirSync(`${lab.directory}/b`, { recursive: true });
  for (const { tap } of allTaps(vm.qemu.spec)) await host.createTap(tap, NETWORK);
  const { spec } = vm.qemu;
  const destination = await launchVm(host, spec, { incoming: true, direct: 'none', signal });
  const source = vm.qemu.monitor;
  const target = destination.qemu.monitor;
  const capabilities = { events: true, 'return-path': true };
  for (const monitor of [source, target]) await migrateSetCapabilities(monitor, capabilities, { signal });
  const parameters = { 'max-bandwidth': 1024 ** 4, 'downtime-limit': options.downtimeLimitMs };
  await migrateSetParameters(source, parameters, { signal });
  const address = `tcp:${host.migrationAddress}:${PORT}`;
  await migrateIncoming(target, address, { signal });
  // it was started with its vCPUs stopped, like every VM of ours; told now, it runs by itself when it is loaded
  await cont(target, { signal });
  const stopped = source.waitFor('STOP', { signal });
  const resumed = target.waitFor('RESUME', { signal });
  const ended = source.waitFor(
    ({ name, data }) => name === 'MIGRATION' && ['completed', 'failed'].includes(String(data.status)),
    { signal },
  );
  const migrateAtMs = nowMs();
  await migrate(source, address, { signal });
  const end = await ended.promise;
  const memory = await queryMigrate(source, { signal });
  if (end.data.status !== 'completed')
    throw new ShadowferryError('MIGRATION_FAILED', { why: memory['error-desc'] ?? 'QEMU says "failed"' });
  const [stop, resume] = await Promise.all([stopped.promise, resumed.promise]);
  const marks = [
    { name: 'migrate', atMs: migrateAtMs - startedAtMs },
    { name: 'vCPUs stopped', atMs: stop.arrivedMs - startedAtMs },
    { name: 'vCPUs run', atMs: resume.arrivedMs - startedAtMs },
    { name: 'completed', atMs: end.arrivedMs - startedAtMs },
  ];
  return {
    blackoutMs: resume.arrivedMs - stop.arrivedMs,
    startedAtMs,
    marks,
    totalMs: Math.max(end.arrivedMs, resume.arrivedMs) - startedAtMs,
    memory,
  };
}
