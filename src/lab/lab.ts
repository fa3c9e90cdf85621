/** Two hosts and an outside on one machine, with a VM that has a direct NIC: what the demo, tests and benches share. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, watch } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import type { Host, HostDevice } from '../host/host.ts';
import type { NicSpec } from '../hypervisor/qemu/spec.ts';
import { VmSpec, vmPaths } from '../hypervisor/qemu/spec.ts';
import { Journal } from '../migration/journal.ts';
import { bootVm, type RunningVm } from '../migration/vm.ts';
import { SqliteOwnership } from '../ownership/sqlite.ts';
import { AbilityStore } from '../shadow/net/abilities.ts';
import { type GuestSetup, guestSetup } from './guest-setup.ts';
import { labHost } from './hosts.ts';
import { ensureGuestImage, type GuestImage } from './image/image.ts';
import { guestKernelArgs } from './image/kernel-args.ts';
import { READY_LINE, SETUP_FW_CFG } from './image/services.ts';
import { createLabNetwork, inNamespace, type LabNetwork, type LabNetworkOptions } from './network/network.ts';

export const LAB_HOSTS = ['a', 'b'] as const;
export const NETWORK = 'lan';

export interface LabOptions {
  /** Where images and what was learned of devices are kept. */
  cacheDir: string;
  /** Device of each host, by QEMU model, in order: \`nic0\`, \`nic1\`… */
  devices: Record<(typeof LAB_HOSTS)[number], readonly string[]>;
  links?: Pick<LabNetworkOptions, 'migrationLink' | 'uplink'>;
  log: (line: string) => void;
  qemu?: Host['qemu'];
}

export interface BootOptions {
  name?: string;
  host?: (typeof LAB_HOSTS)[number];
  memoryMiB?: number;
  standby?: NicSpec['standby'];
  /** Which of the host's devices; none for a VM with only a standby. */
  device?: string | null;
  setup?: Partial<GuestSetup>;
  mac?: string;
  kernelArgs?: readonly string[];
  machine?: string;
}

export class Lab {
  readonly id: string;
  readonly directory: string;
  readonly network: LabNetwork;
  readonly hosts: Record<(typeof LAB_HOSTS)[number], Host>;
  readonly journal: Journal;
  readonly ownership: SqliteOwnership;
  readonly abilities: AbilityStore;
  readonly image: GuestImage;

  private constructor(parts: Pick<Lab, 'id' | 'directory' | 'network' | 'hosts' | 'image' | 'abilities'>) {
    this.id = parts.id;
    this.directory = parts.directory;
    this.network = parts.network;
    this.hosts = parts.hosts;
    this.image = parts.image;
    this.abilities = parts.abilities;
    this.journal = new Journal(join(parts.directory, 'journal.db'));
    this.ownership = new SqliteOwnership(join(parts.directory, 'ownership.db'));
  }

  static async create(options: LabOptions): Promise<Lab> {
    const { cacheDir, log } = options;
    const image = await ensureGuestImage({ cacheDir, log });
    const directory = await mkdtemp(join(tmpdir(), 'sf-'));
    const id = directory
      .slice(-6)
      .toLowerCase()
      .replaceAll(/[^a-z0-9]/g, '0');
    const qemu = options.qemu ?? { binary: 'qemu-system-x86_64', accelerator: 'tcg' };
    const network = await createLabNetwork({ id, hosts: [...LAB_HOSTS], ...options.links });
    const host = (name: (typeof LAB_HOSTS)[number], index: number): Host => {
      const devices = options.devices[name].map(
        (model, n): HostDevice => ({ id: `nic${n}`, kind: 'emulated-nic', model, network: NETWORK }),
      );
      return labHost({ lab: id, name, index, directory, qemu, devices });
    };
    const hosts = { a: host('a', 0), b: host('b', 1) };
    const abilities = new AbilityStore(join(cacheDir, 'abilities.json'));
    return new Lab({ id, directory, network, hosts, image, abilities });
  }

  /** The spec of a VM of the lab's own guest. */
  spec(options: BootOptions = {}): VmSpec {
    const { name = 'web1', host = 'a', memoryMiB = 256, standby = 'virtio', device = 'nic0' } = options;
    const mac = options.mac ?? '52:54:00:5f:00:10';
    const model = this.hosts[host].devices().find(({ id }) => id === device)?.model;
    const setup = join(this.directory, `setup-${name}.sh`);
    writeFileSync(setup, guestSetup({ mac, ...options.setup }));
    return VmSpec.parse({
      name,
      memoryMiB,
      machine: options.machine ?? 'q35',
      boot: {
        kernel: this.image.kernel,
        initrd: this.image.initrd,
        append: guestKernelArgs(options.kernelArgs),
      },
      firmwareFiles: [{ name: SETUP_FW_CFG, path: setup }],
      nics: [
        {
          id: 'net0',
          mac,
          network: NETWORK,
          standby,
          ...(device === null || model === undefined ? {} : { direct: { device, model } }),
        },
      ],
    });
  }

  /** Boots a VM and waits until its agent answers and its NIC is configured. */
  async boot(options: BootOptions = {}): Promise<RunningVm> {
    const host = this.hosts[options.host ?? 'a'];
    mkdirSync(join(this.directory, host.name), { recursive: true });
    const vm = await bootVm(host, this.spec(options), this.ownership, deadline('starting the VM', 30_000));
    const signal = deadline('booting the guest', 90_000);
    await serialSays(vmPaths(vm.qemu.directory).serial, READY_LINE, signal);
    await vm.agent.waitReady({ signal });
    return vm;
  }

  /** Words that run a program outside, where the VMs' peers are. */
  outside(argv: readonly string[]): [string, ...string[]] {
    return inNamespace(this.network.outside.netns, argv);
  }

  /** Ends everything that still runs in the lab and removes it. */
  async dispose(): Promise<void> {
    await this.network.dispose();
    this.journal.dispose();
    this.ownership.close();
    rmSync(this.directory, { recursive: true, force: true });
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
