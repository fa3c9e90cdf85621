/** What a VM is, independent of the host that runs it. Host-specific facts (taps, sockets) are `Placement`. */
import { z } from 'zod';
import { GuestAccessSpec } from '../../guest/access.ts';

const Id = z.string().regex(/^[a-z][a-z0-9-]{0,11}$/, 'lower-case letters, digits and dashes, at most 12');

/** What a user set on the direct device, and the one that the VM has now cannot have: a later one may. */
export const Wanted = z.object({
  /** Key of the attribute of the shadow. */
  key: z.string(),
  value: z.string(),
  /** What it is meanwhile; absent when it is not there at all. */
  left: z.string().optional(),
  /** Boot of the guest for which this holds. */
  boot: z.string(),
});
export type Wanted = z.infer<typeof Wanted>;

/** A NIC of a VM: one identity (MAC, network) that a direct device, a standby, or both, stand behind. */
export const NicSpec = z
  .object({
    id: Id,
    mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/, 'a MAC address in lower case'),
    network: Id.default('lan'),
    /** The direct device: the host's name for it and its QEMU model (for an emulated one). */
    direct: z.object({ device: z.string(), model: z.string() }).optional(),
    /** `virtio`: a virtio-net whose link is down until needed. `failover`: the same with the kernel's net_failover. */
    standby: z.enum(['none', 'virtio', 'failover']).default('none'),
    wanted: z.array(Wanted).optional(),
  })
  .refine((nic) => nic.direct !== undefined || nic.standby !== 'none', 'needs a direct device or a standby');
export type NicSpec = z.infer<typeof NicSpec>;
export type DirectNic = NicSpec & { direct: NonNullable<NicSpec['direct']> };

/** The NICs of a VM that have a direct device, in the order of its spec. */
export function directNics({ nics }: { nics: readonly NicSpec[] }): DirectNic[] {
  return nics.flatMap((nic) => (nic.direct === undefined ? [] : [{ ...nic, direct: nic.direct }]));
}

export const DiskSpec = z.object({
  id: Id,
  path: z.string().min(1),
  format: z.enum(['raw', 'qcow2']),
  /**
   * `shared`: every host of the VM opens it under the same path (shared storage, or in the lab one machine). QEMU's
   * image locks go over with the VM: a destination that waits has not locked it yet. `moves`: it is of one host, and its
   * content goes over with the VM.
   */
  storage: z.enum(['shared', 'moves']).default('shared'),
  bus: z.enum(['virtio-blk', 'virtio-scsi']).default('virtio-blk'),
  /** What is at the path: a regular file, or a block device. */
  at: z.enum(['file', 'device']).default('file'),
});
export type DiskSpec = z.infer<typeof DiskSpec>;

/** QEMU ids of the parts that belong to one disk; the same on every host. */
export function diskIds(disk: Pick<DiskSpec, 'id'>) {
  return {
    node: `disk-${disk.id}`,
    /** Above the node, of a disk that moves: two jobs cannot be on one node. */
    top: `top-${disk.id}`,
    device: `blk-${disk.id}`,
    controller: `scsi-${disk.id}`,
  } as const;
}

export const VmSpec = z.object({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,30}$/, 'lower-case letters, digits and dashes, at most 31'),
  memoryMiB: z
    .number()
    .int()
    .min(64)
    .max(1024 * 1024),
  cpus: z.number().int().min(1).max(255).default(1),
  /** A versioned machine type, so that both sides agree: `pc-q35-7.2`. */
  machine: z.string().default('q35'),
  cpu: z.string().default('qemu64'),
  /** Without a kernel (empty) the machine's firmware boots from the first disk. */
  boot: z.object({ kernel: z.string(), initrd: z.string().optional(), append: z.string().default('') }),
  /** Files that the guest's firmware configuration device offers, by name (`opt/…`). */
  firmwareFiles: z.array(z.object({ name: z.string().startsWith('opt/'), path: z.string() })).default([]),
  disks: z.array(DiskSpec).max(8).default([]),
  nics: z.array(NicSpec).max(8),
  /** The way into the guest. */
  guest: GuestAccessSpec.default(() => GuestAccessSpec.parse({})),
});
export type VmSpec = z.infer<typeof VmSpec>;

/** QEMU ids of the parts that belong to one NIC; the same on every host, so that device state finds its place. */
export function nicIds(nic: Pick<NicSpec, 'id'>) {
  return {
    directPort: `rp-${nic.id}`,
    standbyPort: `rps-${nic.id}`,
    directDevice: `dev-${nic.id}`,
    directNetdev: `net-${nic.id}`,
    standbyDevice: `sby-${nic.id}`,
    standbyNetdev: `netsby-${nic.id}`,
  } as const;
}

/** What one host adds to a spec to run it. */
export interface Placement {
  binary: string;
  accelerator: 'tcg' | 'kvm';
  /** Directory for sockets, pid file and logs. */
  directory: string;
  /** Tap device for each part of each NIC; a direct device without an entry is not plugged at start. */
  taps: Record<string, { direct?: string; standby?: string }>;
  /** Wait paused for a migration stream. */
  incoming: boolean;
}

/** Sockets and files of a VM below its directory. */
export function vmPaths(directory: string) {
  return {
    monitor: `${directory}/qmp.sock`,
    agent: `${directory}/agent.sock`,
    watch: `${directory}/watch.sock`,
    serial: `${directory}/serial.log`,
    log: `${directory}/qemu.log`,
    record: `${directory}/vm.json`,
  } as const;
}

/** Name of the virtio-serial port through which the watcher in the guest says that something changed. */
export const WATCH_PORT = 'org.shadowferry.watch';

/** A virtio-serial port through which the replay program of one NIC and the host talk. */
export interface ChannelPort {
  /** The NIC that it is for. */
  nic: string;
  /** The port's name in the guest. */
  name: string;
  /** Its device in the guest. */
  guestPath: string;
  /** Id of its chardev in QEMU. */
  chardev: string;
  /** Its number on the bus; 0 is kept for a console. */
  nr: number;
  /** The host's end. */
  socket: string;
}

/**
 * The ports of a VM: one for each direct NIC, as a port can be opened only once in the guest and each NIC has a program
 * of its own. A VM without a direct NIC has one for its first NIC. The same wherever it runs, as the stream carries them.
 */
export function channelPorts(spec: Pick<VmSpec, 'nics'>, directory: string): ChannelPort[] {
  const direct = directNics(spec);
  const served = direct.length > 0 ? direct : spec.nics.slice(0, 1);
  return served.map(({ id: nic }, n) => ({
    nic,
    name: `org.shadowferry.${n}`,
    guestPath: `/dev/virtio-ports/org.shadowferry.${n}`,
    chardev: `channel${n}`,
    // 3 is the watcher's
    nr: n === 0 ? 2 : n + 3,
    socket: `${directory}/channel${n === 0 ? '' : n}.sock`,
  }));
}
