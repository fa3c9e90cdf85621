/** What there is in a lab: hosts, devices with their claims, VMs, and how to reach the guest. Reads only. */
import { deadline } from '../base/deadline.ts';
import type { HostDevice } from '../host/host.ts';
import { findQemu } from '../hypervisor/qemu/process.ts';
import { type NicSpec, nicIds, vmPaths } from '../hypervisor/qemu/spec.ts';
import { qomList, queryStatus } from '../hypervisor/qmp/commands.ts';
import { degradedOf, degradedVm } from '../migration/degraded.ts';
import { openMigration } from '../migration/history.ts';
import { GUEST_ADDRESS, GUEST_ADDRESS6, guestNic } from './guest-setup.ts';
import { LAB_HOSTS, type Lab } from './lab.ts';
import { holderOf } from './vm-lock.ts';

/** A QEMU that does not answer is told as such; it serves one client at a time. */
const ANSWER_MS = 5_000;

export interface NicStatus {
  id: string;
  mac: string;
  network: string;
  /** What the lab's own guest is reached at over this NIC. */
  address: string;
  address6: string;
  standby: NicSpec['standby'];
  direct: { device: string; model: string; plugged: boolean } | null;
}

export interface VmStatus {
  name: string;
  owner: string;
  epoch: number;
  /** QEMU's run state, or `migrating` (only its own command may talk to it then), `silent`, `gone`. */
  state: string;
  /** Why it lacks its direct device since a migration. */
  degraded: string | null;
  pid: number | null;
  memoryMiB: number | null;
  nics: NicStatus[];
  console: string | null;
}

export interface LabStatus {
  id: string;
  directory: string;
  hosts: {
    name: string;
    migrationAddress: string;
    devices: (HostDevice & { claimedBy: string | null })[];
  }[];
  vms: VmStatus[];
  /** How to reach the guest: its addresses, its service ports, and the words that run a program beside its peers. */
  guest: { address: string; address6: string; ports: Record<string, number>; from: string[] };
}

async function vmStatus(lab: Lab, owned: { vm: string; owner: string; epoch: number }): Promise<VmStatus> {
  const { vm: name, owner, epoch } = owned;
  const suffers = degradedOf(name, lab.journal);
  const degraded = suffers === undefined ? null : degradedVm(suffers).message;
  const unknown = { name, owner, epoch, degraded, pid: null, memoryMiB: null, nics: [], console: null };
  // who only looks is done before QEMU's monitor counts as silent
  const driven = holderOf(lab.directory, name)?.purpose === 'drive';
  const busy = openMigration(lab.journal, name) !== undefined || driven;
  if (busy) return { ...unknown, state: 'migrating' };
  const host = LAB_HOSTS.find((known) => known === owner);
  if (host === undefined) return { ...unknown, state: 'gone' };
  const signal = deadline(`the monitor of VM "${name}"`, ANSWER_MS);
  try {
    const qemu = await findQemu(lab.hosts[host].vmDirectory(name), signal);
    if (qemu === undefined) return { ...unknown, state: 'gone' };
    try {
      const { status } = await queryStatus(qemu.monitor, { signal });
      const plugged = new Set(
        (await qomList(qemu.monitor, '/machine/peripheral', { signal })).map((entry) => entry.name),
      );
      const nics = qemu.spec.nics.map((nic, n): NicStatus => {
        const { id, mac, network, standby, direct } = nic;
        const { address, address6 } = guestNic(n, Math.max(0, lab.networks.indexOf(network)));
        const isPlugged = plugged.has(nicIds(nic).directDevice);
        return {
          id,
          mac,
          network,
          address,
          address6,
          standby,
          direct: direct === undefined ? null : { ...direct, plugged: isPlugged },
        };
      });
      const { memoryMiB } = qemu.spec;
      const console = vmPaths(qemu.directory).serial;
      return { ...unknown, state: status, pid: qemu.identity.pid, memoryMiB, nics, console };
    } finally {
      await qemu.monitor.close();
    }
  } catch (error) {
    if (signal.aborted) return { ...unknown, state: 'silent' };
    throw error;
  }
}

/** @param way words that bring a command to the lab's networks */
export async function labStatus(lab: Lab, way: readonly string[] = []): Promise<LabStatus> {
  const claims = await lab.ownership.claims();
  const hosts = LAB_HOSTS.map((name) => ({
    name,
    migrationAddress: lab.hosts[name].migrationAddress,
    devices: lab.hosts[name].devices().map((device) => ({
      ...device,
      claimedBy: claims.find((claim) => claim.host === name && claim.device === device.id)?.vm ?? null,
    })),
  }));
  const vms: VmStatus[] = [];
  for (const owned of await lab.ownership.list()) vms.push(await vmStatus(lab, owned));
  return {
    id: lab.id,
    directory: lab.directory,
    hosts,
    vms,
    guest: {
      address: GUEST_ADDRESS,
      address6: GUEST_ADDRESS6,
      ports: { echo: 7, digest: 9, source: 19 },
      from: [...way, ...lab.outside([])],
    },
  };
}
