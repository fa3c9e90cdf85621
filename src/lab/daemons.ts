/**
 * The lab's two hosts, each with a real daemon as a process of its own: with its configuration, certificates, TLS over
 * the link between the hosts, and an etcd that both reach over links of its own.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from '../base/exec.ts';
import { API } from '../daemon/api/contract.ts';
import { initCa, issueIn } from '../daemon/pki/directory.ts';
import { DaemonProcess, shadowferry } from './daemon-process.ts';
import { LabEtcd } from './etcd.ts';
import { LAB_HOSTS, labDevice, NETWORK } from './lab.ts';
import { namespaceName, OUTSIDE } from './network/names.ts';
import { createLabNetwork, inNamespace, type LabNetwork, removeLabNetwork } from './network/network.ts';
import { addStoreNetwork, type StoreNetwork } from './store-network.ts';

export type LabHostName = (typeof LAB_HOSTS)[number];
const PORT = 7443;
const DAYS = 90;

export interface LabDaemonsOptions {
  /** Devices of each host, by QEMU model, as in `LabOptions`. */
  devices: Record<LabHostName, readonly string[]>;
  /** Members of etcd. */
  members: 1 | 3;
  /** QEMU of a host; Debian's when left out. */
  qemu?: (host: LabHostName, directory: string) => string;
  /** Puts the state of each host on a file system of its own of so many MiB, which can be filled. */
  stateMiB?: number;
  /** More of the daemons' configuration. */
  config?: (host: LabHostName) => Record<string, unknown>;
}

/** Places of one host in the lab's directory; short, as paths of sockets are. */
export interface HostPlaces {
  directory: string;
  /** The daemon's `state`. */
  state: string;
  config: string;
  log: string;
  socket: string;
}

function placesOf(directory: string, host: LabHostName): HostPlaces {
  const own = join(directory, host);
  return {
    directory: own,
    state: join(own, 's'),
    config: join(own, 'daemon.yaml'),
    log: join(own, 'daemon.log'),
    socket: join(own, 'run', 'd.sock'),
  };
}

export class LabDaemons implements AsyncDisposable {
  readonly directory: string;
  readonly network: LabNetwork;
  readonly store: StoreNetwork;
  readonly etcd: LabEtcd;
  readonly daemons: Record<LabHostName, DaemonProcess>;
  readonly places: Record<LabHostName, HostPlaces>;
  readonly #mounted: string[];
  /** Who is ended by a signal comes to no `dispose`. */
  readonly #atExit = () => {
    for (const host of LAB_HOSTS) this.daemons[host].kill();
  };

  private constructor(parts: {
    directory: string;
    network: LabNetwork;
    store: StoreNetwork;
    etcd: LabEtcd;
    mounted: string[];
  }) {
    const { directory, network } = parts;
    this.directory = directory;
    this.network = network;
    this.store = parts.store;
    this.etcd = parts.etcd;
    this.#mounted = parts.mounted;
    this.places = { a: placesOf(directory, 'a'), b: placesOf(directory, 'b') };
    const daemon = (name: LabHostName) => {
      const { config, socket, log } = this.places[name];
      // unlike nsenter it gives the daemon a /sys of that namespace, as it has on a host of its own
      const enter = (argv: readonly string[]): [string, ...string[]] => [
        ...(['ip', 'netns', 'exec', this.netns(name)] as const),
        ...argv,
      ];
      return new DaemonProcess({ name, config, socket, log, enter });
    };
    this.daemons = { a: daemon('a'), b: daemon('b') };
    process.once('exit', this.#atExit);
  }

  /** Builds all of it and starts the daemons; nothing is left where that fails. */
  static async create(options: LabDaemonsOptions): Promise<LabDaemons> {
    const directory = await mkdtemp(join(tmpdir(), 'sf-'));
    const id = directory
      .slice(-6)
      .toLowerCase()
      .replaceAll(/[^a-z0-9]/g, '0');
    const mounted: string[] = [];
    try {
      const network = await createLabNetwork({ id, hosts: [...LAB_HOSTS] });
      const store = await addStoreNetwork(id, LAB_HOSTS, options.members);
      const etcd = await LabEtcd.start(store.netns, join(directory, 'etcd'), options.members);
      const lab = new LabDaemons({ directory, network, store, etcd, mounted });
      await lab.#configure(options);
      await Promise.all(LAB_HOSTS.map((host) => lab.daemons[host].start()));
      return lab;
    } catch (error) {
      await removeLabNetwork(id).catch(() => {}); // the first error says more
      for (const place of mounted) await exec(['umount', '-l', place], { allowFailure: true });
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  get id(): string {
    return this.network.id;
  }

  netns(host: LabHostName): string {
    return namespaceName(this.id, host);
  }

  /** Words that run a program outside, where the VMs' peers are. */
  outside(argv: readonly string[]): [string, ...string[]] {
    return inNamespace(namespaceName(this.id, OUTSIDE), argv);
  }

  async #configure(options: LabDaemonsOptions): Promise<void> {
    const pki = join(this.directory, 'pki');
    await initCa(pki, 'the lab', DAYS);
    for (const host of LAB_HOSTS) {
      const { directory, state, config, socket } = this.places[host];
      for (const each of [directory, state, join(directory, 'run')])
        mkdirSync(each, { recursive: true, mode: 0o700 });
      if (options.stateMiB !== undefined) {
        await exec(['mount', '-t', 'tmpfs', '-o', `size=${options.stateMiB}m,mode=0700`, 'state', state]);
        this.#mounted.push(state);
      }
      const { migrationAddress } = this.network.host(host);
      const names = [host, migrationAddress];
      const { certificate, key } = await issueIn(pki, { kind: 'host', name: host }, names, DAYS);
      const settings = {
        ...{ host, state, socket: { path: socket } },
        listen: {
          address: `${migrationAddress}:${PORT}`,
          ...{ certificate, key, clientCa: join(pki, 'ca.crt') },
        },
        peers: LAB_HOSTS.filter((each) => each !== host).map((name) => ({
          name,
          address: `${this.network.host(name).migrationAddress}:${PORT}`,
        })),
        ownership: { kind: 'etcd', endpoints: this.etcd.endpoints },
        networks: { [NETWORK]: { bridge: this.network.host(host).bridge } },
        devices: options.devices[host]
          .map(labDevice)
          .map(({ id, model }) => ({ id, model, network: NETWORK })),
        qemu: {
          binary: options.qemu?.(host, this.directory) ?? 'qemu-system-x86_64',
          accelerator: 'tcg',
        },
        ...options.config?.(host),
      };
      // JSON is YAML
      writeFileSync(config, `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 });
    }
    await issueIn(pki, { kind: 'client', name: 'looker', role: 'admin' }, [], DAYS);
  }

  /** Asks the daemon of `to` for its health over TLS, from the namespace of `from`. @returns what the command says */
  async healthOverTls(from: LabHostName, to: LabHostName): Promise<{ code: number; stdout: string }> {
    const pki = join(this.directory, 'pki');
    const address = `https://${this.network.host(to).migrationAddress}:${PORT}`;
    const files = [
      '--ca',
      join(pki, 'ca.crt'),
      '--cert',
      join(pki, 'looker.crt'),
      '--key',
      join(pki, 'looker.key'),
    ];
    const argv = shadowferry(['migrations', '--json', '--host', address, ...files]);
    return exec(inNamespace(this.netns(from), argv), { allowFailure: true });
  }

  /** Why a daemon is not well; undefined when it is. */
  async illness(host: LabHostName): Promise<string | undefined> {
    try {
      const health = await this.daemons[host].client.call(API.health, { params: {}, query: {} });
      return health.status === 'ok' ? undefined : health.status;
    } catch (error) {
      return String(error);
    }
  }

  async dispose(): Promise<void> {
    process.off('exit', this.#atExit);
    await this.network.dispose();
    for (const place of this.#mounted.splice(0)) await exec(['umount', '-l', place], { allowFailure: true });
    rmSync(this.directory, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
