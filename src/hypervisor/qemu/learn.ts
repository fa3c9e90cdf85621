/** What a QEMU that somebody else started says of itself. Asks only; nothing is changed. */
import { z } from 'zod';
import { ShadowferryError } from '../../errors.ts';
import type { Qmp } from '../qmp/client.ts';
import { qomList, queryMigrate, queryStatus } from '../qmp/commands.ts';
import { migrationOver } from '../qmp/migration-info.ts';
import { type PciNode, pciNodes } from './pci.ts';
import { type DiskSpec, diskIds } from './spec.ts';

/** A device that was made by hand: by `-device` or `isDeviceadd`. */
export interface LearnedDevice {
  /** Undefined for one without an id. */
  id: string | undefined;
  driver: string;
  /** The properties that matter of its kind. */
  properties: Readonly<Record<string, string | number>>;
}

/** A network card of the guest. */
export interface LearnedNic {
  /** Undefined for one without an id. */
  device: string | undefined;
  driver: string | undefined;
  mac: string | undefined;
  /** Whether the guest's kernel takes it for the standby of a device with the same address. */
  failover: boolean;
  /** Id of the PCI bridge that it sits in; undefined on the root bus. */
  port: string | undefined;
  /** Id and tap of what is behind it, where that is one. */
  backend: { id: string; tap: string | undefined } | undefined;
}

export interface LearnedDisk {
  /** Id of its device. */
  device: string;
  node: string;
  file: string;
  format: string;
  /** Of one that is built in as ours are: what our spec says of it. */
  ours?: Pick<DiskSpec, 'storage' | 'bus' | 'at'>;
}

export interface Learned {
  name: string | undefined;
  status: string;
  running: boolean;
  migrating: boolean;
  /** `pc-q35-7.2`. */
  machine: string;
  memoryMiB: number;
  cpus: number;
  /** Model of the first CPU, without what was added to it. */
  cpu: string;
  boot: { kernel: string; initrd: string; append: string };
  devices: LearnedDevice[];
  nics: LearnedNic[];
  disks: LearnedDisk[];
  /** PCI devices on the root bus, by slot. */
  rootSlots: { slot: number; id: string }[];
  /** Paths of sockets, by the id of the chardev. */
  sockets: ReadonlyMap<string, string>;
  /** Chardevs of guest ports, by the port's name. */
  ports: ReadonlyMap<string, string>;
}

const Text = z.string();
const Named = z.object({ name: z.string().optional() });
const Memory = z.object({ 'base-memory': z.number() });
const Cpus = z.array(z.object({ 'qom-path': z.string() })).min(1);
const Chardevs = z.array(z.object({ label: z.string(), filename: z.string() }));
const Value = z.union([z.string(), z.number(), z.boolean().transform(String)]);
const Blocks = z.array(
  z.object({
    qdev: z.string().optional(),
    inserted: z.object({ 'node-name': z.string().optional(), file: z.string(), drv: z.string() }).optional(),
  }),
);

const Nodes = z.array(z.object({ 'node-name': z.string().optional(), file: z.string(), drv: z.string() }));

/** Properties of a kind of device that say how it is built in. */
const TELLING: Readonly<Record<string, readonly string[]>> = {
  virtserialport: ['name', 'chardev', 'nr'],
  'virtio-serial-pci': ['max_ports'],
  'virtio-net-pci': ['failover'],
};

const childDriver = (type: string) => /^child<(.*)>$/.exec(type)?.[1];

/** The class of network cards in PCI. */
const NETWORK_CLASS = 0x02;

class Asker {
  readonly #qmp: Qmp;
  readonly #signal: AbortSignal;

  constructor(qmp: Qmp, signal: AbortSignal) {
    this.#qmp = qmp;
    this.#signal = signal;
  }

  async all(): Promise<Learned> {
    const ask = <T>(command: string, schema: z.ZodType<T>) =>
      this.#qmp.execute(command, undefined, { schema, signal: this.#signal });
    const { name } = await ask('query-name', Named);
    const { status, running } = await queryStatus(this.#qmp, { signal: this.#signal });
    const { status: migration = 'none' } = await queryMigrate(this.#qmp, { signal: this.#signal });
    const memory = await ask('query-memory-size-summary', Memory);
    const cpus = await ask('query-cpus-fast', Cpus);
    const [first] = cpus;
    const machine = await this.#text('/machine', 'type');
    const sockets = socketsOf(await ask('query-chardev', Chardevs));
    const devices = await this.#devices();
    const nodes = await pciNodes(this.#qmp, this.#signal);
    return {
      ...{ name, status, running, sockets, devices },
      migrating: !migrationOver(migration),
      machine: machine.replace(/-machine$/, ''),
      memoryMiB: memory['base-memory'] / 1024 ** 2,
      cpus: cpus.length,
      cpu: (await this.#text(first?.['qom-path'] ?? '', 'type')).replace(/-[^-]+-cpu$/, ''),
      boot: {
        kernel: await this.#text('/machine', 'kernel'),
        initrd: await this.#text('/machine', 'initrd'),
        append: await this.#text('/machine', 'append'),
      },
      nics: await this.#nics(devices, nodes),
      disks: await this.#disks(devices),
      rootSlots: nodes.flatMap(({ port, slot, id }) => (port === undefined ? [{ slot, id }] : [])),
      ports: portsOf(devices),
    };
  }

  /** Under a disk of ours that moves there is the node that has its format. */
  async #disks(devices: readonly LearnedDevice[]): Promise<LearnedDisk[]> {
    const signal = this.#signal;
    const disks = disksOf(await this.#qmp.execute('query-block', undefined, { schema: Blocks, signal }));
    if (!disks.some(({ node }) => node.startsWith('top-'))) return disks;
    const nodes = await this.#qmp.execute(
      'query-named-block-nodes',
      { flat: true },
      { schema: Nodes, signal },
    );
    return disks.map((disk) => {
      const { device, node } = disk;
      const ids = diskIds({ id: node.slice('top-'.length) });
      const under = nodes.find((each) => each['node-name'] === ids.node);
      if (node !== ids.top || under === undefined) return disk;
      const { file, drv: format } = under;
      const scsi = devices.some(({ id, driver }) => id === device && driver === 'scsi-hd');
      const isDevice = nodes.some((each) => each.file === file && each.drv === 'host_device');
      const ours: LearnedDisk['ours'] = {
        storage: 'moves',
        bus: scsi ? 'virtio-scsi' : 'virtio-blk',
        at: isDevice ? 'device' : 'file',
      };
      return { ...disk, file, format, ours };
    });
  }

  /** A property as text; empty where the object has none. */
  async #text(path: string, property: string): Promise<string> {
    return String((await this.#property(path, property)) ?? '');
  }

  async #property(path: string, property: string): Promise<string | number | undefined> {
    try {
      return await this.#qmp.execute('qom-get', { path, property }, { schema: Value, signal: this.#signal });
    } catch (error) {
      if (error instanceof ShadowferryError && error.code === 'QMP_REFUSED') return undefined;
      throw error;
    }
  }

  async #devices(): Promise<LearnedDevice[]> {
    const found: LearnedDevice[] = [];
    for (const [path, named] of [
      ['/machine/peripheral', true],
      ['/machine/peripheral-anon', false],
    ] as const) {
      for (const { name, type } of await qomList(this.#qmp, path, { signal: this.#signal })) {
        const driver = childDriver(type);
        if (driver === undefined) continue;
        const properties: Record<string, string | number> = {};
        for (const property of TELLING[driver] ?? []) {
          const value = await this.#property(`${path}/${name}`, property);
          if (value !== undefined) properties[property] = value;
        }
        found.push({ id: named ? name : undefined, driver, properties });
      }
    }
    return found;
  }

  async #nics(devices: readonly LearnedDevice[], nodes: readonly PciNode[]): Promise<LearnedNic[]> {
    const args = { 'command-line': 'info network' };
    const taps = tapsIn(
      await this.#qmp.execute('human-monitor-command', args, { schema: Text, signal: this.#signal }),
    );
    const nics: LearnedNic[] = [];
    // a bridge's devices are among PCI's only once firmware has numbered its bus
    for (const { id, driver, properties } of devices) {
      const path = `/machine/peripheral/${id}`;
      const mac = id === undefined ? '' : await this.#text(path, 'mac');
      if (mac === '') continue;
      const backend = await this.#text(path, 'netdev');
      const port = /^\/machine\/peripheral\/([^/]+)\//.exec(await this.#text(path, 'parent_bus'))?.[1];
      nics.push({
        ...{ device: id, driver, mac, port, failover: properties.failover === 'true' },
        backend: backend === '' ? undefined : { id: backend, tap: taps.get(backend) },
      });
    }
    for (const { id, kind, port } of nodes) {
      if (id !== '' || kind >> 8 !== NETWORK_CLASS) continue;
      nics.push({
        ...{ device: undefined, driver: undefined, mac: undefined, failover: false, port },
        backend: undefined,
      });
    }
    return nics;
  }
}

/** Taps by the id of the backend, from QEMU's own list for people. Pure. */
export function tapsIn(text: string): Map<string, string> {
  const found = [...text.matchAll(/^[ \\]*([^\s:]+): index=\d+,type=tap,ifname=([^,\s]+)/gm)];
  return new Map(found.map(([, id = '', tap = '']) => [id, tap]));
}

function socketsOf(chardevs: z.infer<typeof Chardevs>): Map<string, string> {
  return new Map(
    chardevs.flatMap(({ label, filename }) => {
      const path = /^(?:disconnected:)?unix:([^,]+),server=on/.exec(filename)?.[1];
      return path === undefined ? [] : [[label, path]];
    }),
  );
}

function disksOf(blocks: z.infer<typeof Blocks>): LearnedDisk[] {
  return blocks.flatMap(({ qdev = '', inserted }) => {
    if (inserted === undefined) return [];
    const device = qdev.replace('/machine/peripheral/', '').replace(/\/virtio-backend$/, '');
    return [{ device, node: inserted['node-name'] ?? '', file: inserted.file, format: inserted.drv }];
  });
}

function portsOf(devices: readonly LearnedDevice[]): Map<string, string> {
  return new Map(
    devices.flatMap(({ driver, properties: { name, chardev } }) =>
      driver === 'virtserialport' && name !== undefined && chardev !== undefined
        ? [[String(name), String(chardev)] satisfies [string, string]]
        : [],
    ),
  );
}

/** @throws QMP_CLOSED, ANSWER_UNEXPECTED, QMP_REFUSED, the signal's reason */
export function learnQemu(qmp: Qmp, signal: AbortSignal): Promise<Learned> {
  return new Asker(qmp, signal).all();
}
