/** Two hosts and an outside on one machine, with a VM that has a direct NIC: what the demo, tests and benches share. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, watch } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import type { Host, HostDevice } from '../host/host.ts';
import type { DiskSpec, NicSpec } from '../hypervisor/qemu/spec.ts';
import { VmSpec, vmPaths } from '../hypervisor/qemu/spec.ts';
import { Journal } from '../migration/journal.ts';
import { bootVm, disconnectVm, findVm, type RunningVm } from '../migration/vm.ts';
import { SqliteOwnership } from '../ownership/sqlite.ts';
import { AbilityStore } from '../shadow/net/abilities.ts';
import { ShadowStore } from '../shadow/store/store.ts';
import { type GuestSetup, guestSetups } from './guest-setup.ts';
import { labHost } from './hosts.ts';
import { ensureGuestImage, type GuestImage } from './image/image.ts';
import { guestKernelArgs } from './image/kernel-args.ts';
import { READY_LINE, SETUP_FW_CFG } from './image/services.ts';
import { namespaceName, OUTSIDE } from './network/names.ts';
import {
  createLabNetwork,
  inNamespace,
  type LabNetwork,
  type LabNetworkOptions,
  removeLabNetwork,
} from './network/network.ts';

export const LAB_HOSTS = ['a', 'b'] as const;
export const NETWORK = 'lan';
const PLAIN_MTU = 1500;

export interface LabOptions {
  /** Where images and what was learned of devices are kept. */
  cacheDir: string;
  /** A file for what is learned of devices, where it shall not be the cache's: for tests that begin with nothing. */
  abilities?: string;
  /**
   * Devices of each host, by QEMU model, in order: `nic0`, `nic1`… `MODEL@NETWORK` is one on another network than `lan`,
   * and that there is one makes the network.
   */
  devices: Record<(typeof LAB_HOSTS)[number], readonly string[]>;
  links?: Pick<LabNetworkOptions, 'migrationLink' | 'uplink'>;
  /** Bytes, of every interface of the lab but the VMs' own; 1500 unless told. */
  mtu?: number;
  log: (line: string) => void;
  /** The installed one unless told; another version comes from `ensureQemuTree`. One for both hosts, or one for each. */
  qemu?: Host['qemu'] | Record<(typeof LAB_HOSTS)[number], Host['qemu']>;
}

/** A guest other than the lab's own. */
export interface GuestBoot {
  kernel: string;
  initrd: string;
  append: string;
  /** Script that the guest runs at its first boot. */
  setup: string;
  disks: readonly z.input<typeof DiskSpec>[];
  /** Longest boot, ms. */
  bootMs: number;
}

/** A NIC of a VM besides `net0`; it is `net1` and so on. */
export interface NicOptions {
  /** Which of the host's devices; none for a NIC with only a standby. */
  device: string | null;
  /** Of a NIC without a device; one with a device is on its device's network. */
  network?: string;
  standby?: NicSpec['standby'];
  setup?: Partial<GuestSetup>;
}

export interface BootOptions {
  name?: string;
  host?: (typeof LAB_HOSTS)[number];
  memoryMiB?: number;
  cpus?: number;
  standby?: NicSpec['standby'];
  /** The hosts are one machine, so each path is the same file for both. */
  disks?: readonly z.input<typeof DiskSpec>[];
  /** Which of the host's devices; none for a VM with only a standby. */
  device?: string | null;
  setup?: Partial<GuestSetup>;
  /** More NICs. */
  nics?: readonly NicOptions[];
  mac?: string;
  kernelArgs?: readonly string[];
  machine?: string;
  /** The lab's own guest with more in it. */
  initrd?: string;
  /** Instead of the lab's own guest, whose `setup` and `kernelArgs` then mean nothing. */
  guest?: GuestBoot;
  /** The way into the guest. */
  access?: VmSpec['guest'];
  /** Told what the guest said on its console until it was up, before its inside is asked for anything. */
  booted?: (serial: string) => Promise<void>;
}

/** A device as a lab's options name it: `MODEL` or `MODEL@NETWORK`. */
export function labDevice(text: string, n: number): HostDevice {
  const at = text.indexOf('@');
  const [model, network] = at < 0 ? [text, NETWORK] : [text.slice(0, at), text.slice(at + 1)];
  return { id: `nic${n}`, kind: 'emulated-nic', model, network };
}

/** The networks that there are devices on, `lan` first and always. */
function networksOf(devices: LabOptions['devices']): string[] {
  const used = LAB_HOSTS.flatMap((host) => devices[host].map(labDevice)).map(({ network }) => network);
  return [...new Set([NETWORK, ...used])];
}

const HostQemu = z.object({ binary: z.string(), accelerator: z.enum(['tcg', 'kvm']) });

/** What a later process needs to find a lab again. */
const LabRecord = z.object({
  id: z.string(),
  directory: z.string(),
  devices: z.object({ a: z.array(z.string()), b: z.array(z.string()) }),
  qemus: z.object({ a: HostQemu, b: HostQemu }),
  image: z.object({ id: z.string(), kernel: z.string(), initrd: z.string(), kernelVersion: z.string() }),
  cacheDir: z.string(),
  abilities: z.string().optional(),
  mtu: z.number().int().default(PLAIN_MTU),
});
type LabRecord = z.infer<typeof LabRecord>;

export class Lab implements AsyncDisposable {
  readonly id: string;
  readonly directory: string;
  /** The network with its means to shape and cut; absent in a process that only found the lab. */
  readonly network: LabNetwork | undefined;
  /** Names of the networks that VMs are on, in the order of their numbers. */
  readonly networks: readonly string[];
  readonly hosts: Record<(typeof LAB_HOSTS)[number], Host>;
  readonly journal: Journal;
  readonly ownership: SqliteOwnership;
  readonly abilities: AbilityStore;
  /** What is known of the VMs' devices, beside the journal. */
  readonly shadows: ShadowStore;
  readonly image: GuestImage;

  private constructor(record: LabRecord, network: LabNetwork | undefined) {
    this.id = record.id;
    this.directory = record.directory;
    this.network = network;
    this.image = record.image;
    this.networks = networksOf(record.devices);
    const host = (name: (typeof LAB_HOSTS)[number], index: number): Host => {
      const devices = record.devices[name].map(labDevice);
      const { id: lab, directory, mtu } = record;
      const qemu = record.qemus[name];
      return labHost({ lab, name, index, directory, qemu, devices, networks: this.networks, mtu });
    };
    this.hosts = { a: host('a', 0), b: host('b', 1) };
    this.abilities = new AbilityStore(record.abilities ?? join(record.cacheDir, 'abilities.json'));
    this.journal = new Journal(join(record.directory, 'journal.db'));
    this.ownership = new SqliteOwnership(join(record.directory, 'ownership.db'));
    this.shadows = new ShadowStore(join(record.directory, 'shadows.db'));
  }

  static async create(options: LabOptions): Promise<Lab> {
    const { cacheDir, log, mtu = PLAIN_MTU } = options;
    const image = await ensureGuestImage({ cacheDir, log });
    const directory = await mkdtemp(join(tmpdir(), 'sf-'));
    try {
      const id = directory
        .slice(-6)
        .toLowerCase()
        .replaceAll(/[^a-z0-9]/g, '0');
      const devices = { a: [...options.devices.a], b: [...options.devices.b] };
      const networks = networksOf(devices).length;
      const network = await createLabNetwork({ id, hosts: [...LAB_HOSTS], networks, mtu, ...options.links });
      const qemu = options.qemu ?? { binary: 'qemu-system-x86_64', accelerator: 'tcg' };
      const record: LabRecord = {
        id,
        directory,
        devices,
        qemus: 'binary' in qemu ? { a: qemu, b: qemu } : qemu,
        image,
        cacheDir,
        mtu,
        ...(options.abilities === undefined ? {} : { abilities: options.abilities }),
      };
      writeFileSync(join(directory, 'lab.json'), JSON.stringify(record), { mode: 0o600 });
      return new Lab(record, network);
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Finds a lab that another process made. @throws LAB_MISSING when there is none in `directory`. */
  static open(directory: string): Lab {
    try {
      return new Lab(
        LabRecord.parse(JSON.parse(readFileSync(join(directory, 'lab.json'), 'utf8'))),
        undefined,
      );
    } catch (error) {
      throw new ShadowferryError('LAB_MISSING', { directory }, { cause: error });
    }
  }

  /** The spec of a VM of the lab's own guest. */
  spec(options: BootOptions = {}): VmSpec {
    const { name = 'web1', host = 'a', memoryMiB = 256, standby = 'virtio', device = 'nic0' } = options;
    const first: NicOptions = { device, standby, ...(options.setup ? { setup: options.setup } : {}) };
    const nics = [first, ...(options.nics ?? [])].map((nic, n) => {
      const device = this.hosts[host].devices().find(({ id }) => id === nic.device);
      const mac = n === 0 && options.mac !== undefined ? options.mac : `52:54:00:5f:0${n}:10`;
      const network = device?.network ?? nic.network ?? NETWORK;
      const setup = { mac, nic: n, network: this.networks.indexOf(network), ...nic.setup };
      const direct = device === undefined ? {} : { direct: { device: device.id, model: device.model } };
      return { spec: { id: `net${n}`, mac, network, standby: nic.standby ?? 'virtio', ...direct }, setup };
    });
    const setup = join(this.directory, `setup-${name}.sh`);
    writeFileSync(setup, options.guest?.setup ?? guestSetups(nics.map((nic) => nic.setup)));
    return VmSpec.parse({
      name,
      memoryMiB,
      cpus: options.cpus ?? 1,
      machine: options.machine ?? 'q35',
      boot: {
        kernel: options.guest?.kernel ?? this.image.kernel,
        initrd: options.guest?.initrd ?? options.initrd ?? this.image.initrd,
        append: options.guest?.append ?? guestKernelArgs(options.kernelArgs),
      },
      disks: options.guest?.disks ?? options.disks ?? [],
      firmwareFiles: [{ name: SETUP_FW_CFG, path: setup }],
      ...(options.access === undefined ? {} : { guest: options.access }),
      nics: nics.map((nic) => nic.spec),
    });
  }

  /** Boots a VM and waits until its agent answers and its NIC is configured. */
  async boot(options: BootOptions = {}): Promise<RunningVm> {
    const host = this.hosts[options.host ?? 'a'];
    mkdirSync(join(this.directory, host.name), { recursive: true });
    const vm = await bootVm(host, this.spec(options), this.ownership, deadline('starting the VM', 30_000));
    const signal = deadline('booting the guest', options.guest?.bootMs ?? 90_000);
    const { serial } = vmPaths(vm.qemu.directory);
    try {
      await serialSays(serial, READY_LINE, signal);
      await options.booted?.(readFileSync(serial, 'utf8'));
      await vm.agent.waitReady({ signal });
      return vm;
    } catch (error) {
      await disconnectVm(vm); // it stays as it is, for whoever wants to see why
      throw error;
    }
  }

  /** Words that run a program outside, where the VMs' peers are. */
  outside(argv: readonly string[]): [string, ...string[]] {
    return inNamespace(namespaceName(this.id, OUTSIDE), argv);
  }

  /** Finds a VM of this lab on the host that owns it. @throws UNKNOWN_VM naming the VMs that there are. */
  async find(name: string, signal: AbortSignal): Promise<RunningVm> {
    const owned = await this.ownership.read(name);
    const host = LAB_HOSTS.find((known) => known === owned?.owner);
    if (host === undefined) {
      const names = (await this.ownership.list()).map(({ vm }) => vm);
      throw new ShadowferryError('UNKNOWN_VM', {
        field: 'vm',
        value: name,
        allowed: names.join(', ') || '(there is none)',
      });
    }
    return findVm(this.hosts[host], name, signal);
  }

  /** Lets go of the lab, which stays as it is, for a process that ends before it. */
  close(): void {
    this.journal.dispose();
    this.ownership.close();
    this.shadows.dispose();
  }

  /** Ends everything that still runs in the lab and removes it. */
  async dispose(): Promise<void> {
    await (this.network?.dispose() ?? removeLabNetwork(this.id));
    this.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** Waits until a guest's console has shown a line. */
async function serialSays(file: string, line: string, signal: AbortSignal): Promise<void> {
  const said = () => readFileSync(file, 'utf8').includes(line);
  const changes = watch(file, { signal });
  if (said()) return;
  try {
    for await (const _ of changes) if (said()) return;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

/** A host of the lab by name. @throws UNKNOWN_HOST */
export function hostOf(lab: Lab, name: string, field: string): Host {
  const host = LAB_HOSTS.find((known) => known === name);
  if (host === undefined)
    throw new ShadowferryError('UNKNOWN_HOST', { field, value: name, allowed: LAB_HOSTS.join(', ') });
  return lab.hosts[host];
}
