/** Breaks one thing in the lab, and says how it is mended. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { MigrationInfo, type MigrationStatus } from '../../hypervisor/qmp/migration-info.ts';
import type { LabDaemons } from '../daemons.ts';
import type { Fault } from './cases.ts';
import { emptyDisk, fillDisk } from './disk.ts';
import type { Gate, Gated } from './gate.ts';
import { delaying, refusingDevices, reordering, repeating } from './monitors.ts';
import type { HostName, Killed } from './observation.ts';

export interface Scene {
  lab: LabDaemons;
  gate: Gate;
  vm: string;
  source: HostName;
  destination: HostName;
  /** Ends waits for what the fault needs. */
  signal: AbortSignal;
}

export interface Injected {
  killed?: Killed;
  /** When it is mended: at once, after so many ms, or when the migration has ended or waits for it. */
  mend: 'at-once' | 'ended' | number;
  /** Takes the fault back. Called once. */
  lift: () => Promise<void>;
}

const DELAY_MS = 150;
const OVERTAKEN_MS = 60;
const SHORT_CUT_MS = 2000;

/** Statuses of a destination that runs the VM while a part of its memory is on the source. */
const PARTLY: ReadonlySet<MigrationStatus> = new Set([
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
]);
const ASK_MS = 2000;

async function isPartly({ monitor }: Gated): Promise<boolean> {
  if (monitor === undefined) return false;
  const signal = deadline('a question to QEMU', ASK_MS);
  const { status } = await monitor.execute('query-migrate', undefined, { schema: MigrationInfo, signal });
  return PARTLY.has(status);
}

async function killDaemons({ lab }: Scene, hosts: readonly HostName[]): Promise<Injected> {
  for (const host of hosts) lab.daemons[host].kill();
  await Promise.all(hosts.map((host) => lab.daemons[host].gone()));
  return {
    mend: 'at-once',
    lift: async () => {
      await Promise.all(hosts.map((host) => lab.daemons[host].start()));
    },
  };
}

/** Kills QEMU of the VM on a host, as soon as there is one. @throws the signal's reason */
async function killQemu(scene: Scene, host: HostName): Promise<Injected> {
  const { gate, vm, signal } = scene;
  const there = () => gate.qemus(host).find((each) => each.vm === vm);
  const found: Gated = await gate.until(there, signal);
  const other = gate.qemus().find((each) => each.vm === vm && each.host !== host);
  const holdsPages = host === scene.source && other !== undefined && (await isPartly(other));
  try {
    process.kill(found.pid, 'SIGKILL');
  } catch (error) {
    const why = `QEMU of ${host} ended before it could be killed`;
    throw new ShadowferryError('INTERNAL', { why }, { cause: error });
  }
  const atMs = Date.now();
  gate.ended(found.pid, atMs);
  return { killed: { host, pid: found.pid, atMs, holdsPages }, mend: 'at-once', lift: async () => {} };
}

async function cutLink({ lab }: Scene, mend: Injected['mend']): Promise<Injected> {
  await lab.network.cutMigrationLink();
  return { mend, lift: () => lab.network.restoreMigrationLink() };
}

async function cutStore({ lab }: Scene, hosts: readonly HostName[]): Promise<Injected> {
  for (const host of hosts) await lab.store.cut(host);
  return {
    mend: 'ended',
    lift: async () => {
      for (const host of hosts) await lab.store.restore(host);
    },
  };
}

function fill({ lab }: Scene, host: HostName): Injected {
  const { state } = lab.places[host];
  fillDisk(state);
  return { mend: 'ended', lift: async () => emptyDisk(state) };
}

function hook({ gate }: Scene, hosts: readonly HostName[], make: () => Gate['hooks'][HostName]): Injected {
  for (const host of hosts) gate.hooks[host] = make();
  return {
    mend: 'ended',
    lift: async () => {
      for (const host of hosts) gate.hooks[host] = {};
    },
  };
}

/** Does it. @throws why it cannot be done now */
export async function inject(fault: Fault, scene: Scene): Promise<Injected> {
  const { lab, gate, source, destination } = scene;
  const both = [source, destination];
  switch (fault) {
    case 'kill-source-daemon':
      return killDaemons(scene, [source]);
    case 'kill-destination-daemon':
      return killDaemons(scene, [destination]);
    case 'kill-both-daemons':
      return killDaemons(scene, both);
    case 'kill-source-qemu':
      return killQemu(scene, source);
    case 'kill-destination-qemu':
      return killQemu(scene, destination);
    case 'link-2s':
      return cutLink(scene, SHORT_CUT_MS);
    case 'link-cut':
      return cutLink(scene, 'ended');
    case 'etcd-leader': {
      const name = await lab.etcd.killLeader();
      return { mend: 'ended', lift: () => lab.etcd.restart(name) };
    }
    case 'etcd-source':
      return cutStore(scene, [source]);
    case 'etcd-destination':
      return cutStore(scene, [destination]);
    case 'etcd-both':
      return cutStore(scene, both);
    case 'agent-silent':
      gate.silence(true);
      return { mend: 'ended', lift: async () => gate.silence(false) };
    case 'disk-source':
      return fill(scene, source);
    case 'disk-destination':
      return fill(scene, destination);
    case 'device-add-once':
      return hook(scene, [destination], () => refusingDevices(1));
    case 'device-add-always':
      return hook(scene, [destination], () => refusingDevices(Infinity));
    case 'qmp-delay-source':
      return hook(scene, [source], () => delaying(DELAY_MS));
    case 'qmp-delay-destination':
      return hook(scene, [destination], () => delaying(DELAY_MS));
    case 'qmp-repeat':
      return hook(scene, both, repeating);
    case 'qmp-reorder':
      return hook(scene, both, () => reordering(OVERTAKEN_MS));
    default:
      return fault satisfies never;
  }
}
