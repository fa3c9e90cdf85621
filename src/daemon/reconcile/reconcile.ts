/** Looks for what a crash left on this host, tells it, and then removes what nothing accounts for. */
import { readdirSync, rmSync } from 'node:fs';
import type { Logger } from 'pino';
import { deadline } from '../../base/deadline.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { errnoOf } from '../../base/safe-file.ts';
import { reasonOf } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { qemuOfDirectory } from '../../hypervisor/qemu/of-directory.ts';
import { endQemu, findQemu } from '../../hypervisor/qemu/process.ts';
import { queryStatus } from '../../hypervisor/qmp/commands.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { VmEntry, VmRegistry } from '../vms/registry.ts';
import { type Accounts, type Found, type Leftover, leftovers } from './plan.ts';

export interface ReconcileOptions {
  host: Host;
  /** Directory of the VMs' directories. */
  directory: string;
  ownership: Pick<OwnershipStore, 'list' | 'claims' | 'releaseDevice'>;
  /** Asked after this machine was looked at, so that what came meanwhile is accounted for. */
  accounts: () => Accounts;
  publish: (type: string, data: Record<string, unknown>) => void;
  log: Logger;
  /** Where interfaces are listed; tests have one of their own. */
  sysfs?: string;
  /** Counts what was found, by what became of it. */
  counted?: (what: Leftover['what'], fate: 'removed' | 'left' | 'stays') => void;
}

/** What accounts for what is found: the VMs of this host, and the migrations that are open, either way. */
export function accountsOf(
  vms: Pick<VmRegistry, 'list' | 'busy'>,
  outgoing: readonly { id: string; vm: string }[],
  incoming: readonly { id: string; handOver: { vm: string } }[],
): Accounts {
  const comes = incoming.map(({ id, handOver: { vm } }) => ({ id, vm }));
  const open = [...outgoing, ...comes];
  // one that is being started has its taps before it runs
  const here = ({ name, state }: VmEntry) =>
    state === 'running' || state === 'paused' || state === 'incoming' || vms.busy(name) !== null;
  const all = vms.list();
  return {
    vms: all.filter(here).map(({ spec }) => spec),
    resting: new Set(all.filter(({ state }) => state === 'stopped').map(({ name }) => name)),
    migrating: new Set(open.map(({ vm }) => vm)),
    open: new Set(open.map(({ id }) => id)),
  };
}

const STORE_MS = 5_000;
const MONITOR_MS = 2_000;
/** Until the store is asked again, ms. */
const AGAIN_MS = 30_000;

/** Names in a directory; none where there is no such directory. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

async function qemuIn(directory: string): Promise<Found['directories'][number]['qemu']> {
  if (qemuOfDirectory(directory).length === 0) return 'none';
  try {
    const signal = deadline('its monitor', MONITOR_MS);
    const qemu = await findQemu(directory, signal);
    if (qemu === undefined) return 'unknown';
    const { running } = await queryStatus(qemu.monitor, { signal }).finally(() => qemu.monitor.close());
    return running ? 'runs' : 'stands';
  } catch {
    return 'unknown'; // told as left
  }
}

async function look(options: ReconcileOptions, skip: ReadonlySet<string>): Promise<Found> {
  const { host, directory, ownership, sysfs = '/sys/class/net' } = options;
  const signal = deadline('the ownership store', STORE_MS);
  const store = await Promise.all([ownership.list(signal), ownership.claims(host.name, signal)]).catch(
    (error: unknown) => {
      options.log.warn({ err: error }, 'what was left cannot be judged: the ownership store does not answer');
      return undefined;
    },
  );
  const vms = namesIn(directory).filter((vm) => !skip.has(vm));
  return {
    host: host.name,
    interfaces: namesIn(sysfs),
    // the monitor of a VM that is in good hands is not touched: it serves one client at a time
    directories: await Promise.all(vms.map(async (vm) => ({ vm, qemu: await qemuIn(host.vmDirectory(vm)) }))),
    claims: store?.[1] ?? [],
    records: store === undefined ? undefined : new Map(store[0].map((record) => [record.vm, record])),
  };
}

async function remove(options: ReconcileOptions, leftover: Leftover): Promise<void> {
  const { host, ownership } = options;
  switch (leftover.what) {
    case 'tap':
      return host.removeTap(leftover.name);
    case 'directory':
      return rmSync(host.vmDirectory(leftover.name), { recursive: true, force: true });
    case 'qemu': {
      const directory = host.vmDirectory(leftover.name);
      const qemu = await findQemu(directory, deadline('its monitor', MONITOR_MS));
      return qemu === undefined ? undefined : endQemu(qemu);
    }
    case 'claim':
      return ownership.releaseDevice(leftover.claim, deadline('the ownership store', STORE_MS));
    default:
      return leftover satisfies never;
  }
}

/**
 * Never throws: what cannot be removed is told.
 * @returns what was found, and whether the store answered, without which not all can be judged
 */
export async function reconcile(options: ReconcileOptions): Promise<{ found: Leftover[]; judged: boolean }> {
  const { publish, log, counted = () => {} } = options;
  const before = options.accounts();
  const known = new Set([...before.vms.map(({ name }) => name), ...before.migrating]);
  try {
    const seen = await look(options, known);
    const found = leftovers(seen, options.accounts());
    for (const { what, name, action, reason } of found)
      publish('host.leftover', { host: options.host.name, what, name, action, why: reason });
    // QEMUs first: what they hold goes after them
    for (const leftover of found) {
      const { what, name } = leftover;
      if (leftover.action === 'leave') {
        counted(what, 'left');
        continue;
      }
      try {
        await remove(options, leftover);
        counted(what, 'removed');
        log.info({ what, name, why: leftover.reason }, 'removed what a crash left');
      } catch (error) {
        counted(what, 'stays');
        publish('host.leftover-stays', { host: options.host.name, what, name, why: reasonOf(error) });
        log.warn({ err: error, what, name }, 'what a crash left could not be removed');
      }
    }
    return { found, judged: seen.records !== undefined };
  } catch (error) {
    log.warn({ err: error }, 'what a crash left cannot be looked for');
    return { found: [], judged: false };
  }
}

/** Looks once, and again as long as the store did not answer. @returns what stops that */
export function keepClean(options: ReconcileOptions): () => Promise<void> {
  const stopped = new AbortController();
  const { signal } = stopped;
  const done = (async () => {
    for (let judged = false; !judged && !signal.aborted; ) {
      ({ judged } = await reconcile(options));
      if (!judged) await pauseFor(AGAIN_MS, signal);
    }
  })();
  return () => {
    stopped.abort();
    return done;
  };
}
