import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';
import { awaitCarrier } from './carrier.ts';
import { type NetworkFeatures, probeFeatures } from './features.ts';
import { ipBatch } from './ip.ts';
import { Link } from './link.ts';
import {
  checkHostName,
  checkId,
  checkInterfaceName,
  DEVICE,
  MOST_NETWORKS,
  memberOf,
  NETNS_DIRECTORY,
  namespaceName,
  OUTSIDE,
  OUTSIDE_ADDRESS,
  OUTSIDE_ADDRESS6,
  segment,
  switchPort,
} from './names.ts';
import { killProcessesIn, type NamespaceProcess, pinnedNamespaces, processesIn } from './processes.ts';
import type { LinkShape } from './shaping.ts';
import { migrationAddress, port, topologyBatches } from './topology.ts';

export interface LabNetworkOptions {
  /** Tells labs on one machine apart: 1 to 32 of a-z, 0-9 and -. */
  id: string;
  hosts: readonly [string, string];
  /** The link between the hosts that migrations use. */
  migrationLink?: LinkShape;
  /** Each host's link to the outside. */
  uplink?: LinkShape;
  /** Bytes, on every interface; 1500 unless told. */
  mtu?: number;
  /** Networks that the VMs are on, see `segment`; 1 unless told. */
  networks?: number;
}

/** A host of the lab as the network sees it. */
export interface LabHost {
  name: string;
  netns: string;
  /** The bridge that VMs' taps are ports of. */
  bridge: string;
  /** Its address on the migration network. */
  migrationAddress: string;
}

/** The namespace of the peers that talk to the VMs, on the VMs' own subnet. */
export interface Outside {
  netns: string;
  address: string;
  address6: string;
}

/** What is left of a lab network; all empty when it is gone. */
export interface Leftovers {
  namespaces: string[];
  processes: NamespaceProcess[];
}

/** `migration`, or a host's name for its uplink; `HOST/N` for its uplink on the VMs' network number N. */
export type LinkName = string;

export interface LabNetwork extends AsyncDisposable {
  readonly id: string;
  readonly hosts: readonly LabHost[];
  readonly outside: Outside;
  readonly features: NetworkFeatures;
  /** @throws ShadowferryError UNKNOWN_HOST */
  host(name: string): LabHost;
  /** Makes a tap, a port of the host's bridge, up; QEMU opens it by its name from within the host's namespace. */
  addTap(host: string, name: string, options?: { mtu?: number }): Promise<void>;
  removeTap(host: string, name: string): Promise<void>;
  /** Gives a link a rate and a delay in place of those it had, while it is in use. */
  setLink(link: LinkName, shape: LinkShape): Promise<void>;
  /** Pulls the cable between the hosts. */
  cutMigrationLink(): Promise<void>;
  restoreMigrationLink(): Promise<void>;
  /** What has gone wrong in the network by itself, a sentence each; empty when all is well. */
  problems(): string[];
  /** Ends the processes in the namespaces and removes everything. May be called again. */
  dispose(): Promise<void>;
}

/**
 * The argument vector that runs `argv` in network namespace `netns`. The process that is started becomes the target
 * itself (its pid is the target's). nsenter costs what `ip netns exec` does (2 ms) but leaves the mounts alone, which
 * an unprivileged user namespace needs.
 */
export function inNamespace(netns: string, argv: readonly string[]): [string, ...string[]] {
  return ['nsenter', `--net=${NETNS_DIRECTORY}/${netns}`, '--', ...argv];
}

/** What is left of lab network `id`: pinned namespaces (taps live and die with them) and the processes in them. */
export function listLeftovers(id: string): Leftovers {
  checkId(id);
  const namespaces = pinnedNamespaces().filter((name) => memberOf(id, name) !== undefined);
  return { namespaces, processes: processesIn(namespaces) };
}

/**
 * Removes what is left of lab network `id`, whoever made it.
 * @throws ShadowferryError DEADLINE when a process there does not end.
 */
export async function removeLabNetwork(id: string): Promise<void> {
  const { namespaces } = listLeftovers(id);
  if (namespaces.length === 0) return;
  await killProcessesIn(namespaces);
  await ipBatch(
    undefined,
    namespaces.map((name) => `netns delete ${name}`),
  );
}

/**
 * Builds two hosts and an outside as network namespaces on this machine.
 * @throws ShadowferryError LAB_NETWORK_EXISTS, RIGHTS_MISSING, INPUT_FIELD; nothing is left behind then.
 */
export async function createLabNetwork(options: LabNetworkOptions): Promise<LabNetwork> {
  const { id, hosts, mtu = 1500, networks = 1 } = options;
  checkId(id);
  hosts.forEach(checkHostName);
  if (hosts[0] === hosts[1]) {
    throw new ShadowferryError('INPUT_FIELD', { field: 'hosts', problem: 'the two names must differ' });
  }
  if (!Number.isInteger(mtu) || mtu < 1280 || mtu > 65_535) {
    throw new ShadowferryError('INPUT_FIELD', { field: 'mtu', problem: 'must be 1280 to 65535 bytes' });
  }
  if (!Number.isInteger(networks) || networks < 1 || networks > MOST_NETWORKS) {
    const problem = `must be 1 to ${MOST_NETWORKS}`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'networks', problem });
  }
  if (listLeftovers(id).namespaces.length > 0) throw new ShadowferryError('LAB_NETWORK_EXISTS', { id });
  try {
    const { create, start, wires, bridge } = topologyBatches({ id, hosts, mtu, networks });
    await ipBatch(undefined, create);
    const inEach = (texts: Map<string, string[]>, act: typeof ipBatch | typeof awaitCarrier = ipBatch) =>
      Promise.all([...texts].map(([netns, each]) => act(netns, each)));
    const outside = namespaceName(id, OUTSIDE);
    const [features] = await Promise.all([probeFeatures(outside), inEach(start), tuneOutside(outside)]);
    await inEach(wires, awaitCarrier);
    await inEach(bridge);
    const links = makeLinks(id, hosts, features, mtu, networks);
    for (const [name, link] of links) {
      const shape = name === MIGRATION ? options.migrationLink : options.uplink;
      if (shape?.rateMbit || shape?.delayMs) await link.set(shape);
    }
    return assemble(id, hosts, mtu, features, links);
  } catch (error) {
    await removeLabNetwork(id).catch(() => {}); // the first error says more
    throw error;
  }
}

/**
 * Small buffers for connections that carry little, so that an application outside notices at once when the guest takes
 * or gives nothing, rather than when megabytes of buffers are full or empty. They grow for those that carry much.
 */
async function tuneOutside(netns: string): Promise<void> {
  const settings = { tcp_notsent_lowat: '16384', tcp_rmem: '4096 32768 6291456' };
  for (const [name, value] of Object.entries(settings)) {
    // A program in the namespace must write them; the text of the script is fixed.
    const script = 'printf %s "$2" > "/proc/sys/net/ipv4/$1"';
    await exec(inNamespace(netns, ['sh', '-c', script, 'sh', name, value]));
  }
}

const MIGRATION = 'migration';

function makeLinks(
  id: string,
  hosts: readonly [string, string],
  features: NetworkFeatures,
  mtu: number,
  networks: number,
): Map<LinkName, Link> {
  const migrationEnd = (host: string) => ({
    netns: namespaceName(id, host),
    bridge: DEVICE.migration,
    wire: DEVICE.migrationWire,
  });
  const migration = new Link(MIGRATION, [migrationEnd(hosts[0]), migrationEnd(hosts[1])], features, mtu);
  const uplinks = Array.from({ length: networks }, (_, n) => n).flatMap((n) =>
    hosts.map((host): [LinkName, Link] => {
      const { bridge, uplink, switch: outer } = segment(n);
      const inside = { netns: namespaceName(id, host), bridge, wire: uplink };
      const outside = { netns: namespaceName(id, OUTSIDE), bridge: outer, wire: switchPort(host, n) };
      const name = n === 0 ? host : `${host}/${n}`;
      return [name, new Link(`of host ${name}`, [inside, outside], features, mtu)];
    }),
  );
  return new Map([[MIGRATION, migration], ...uplinks]);
}

function assemble(
  id: string,
  names: readonly [string, string],
  defaultMtu: number,
  features: NetworkFeatures,
  links: ReadonlyMap<LinkName, Link>,
): LabNetwork {
  const hosts = names.map((name, index) => ({
    name,
    netns: namespaceName(id, name),
    bridge: DEVICE.bridge,
    migrationAddress: migrationAddress(index),
  }));
  const host = (value: string): LabHost => {
    const found = hosts.find(({ name }) => name === value);
    if (found) return found;
    throw new ShadowferryError('UNKNOWN_HOST', { field: 'host', value, allowed: names.join(', ') });
  };
  const link = (value: LinkName): Link => {
    const found = links.get(value);
    if (found) return found;
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'link',
      problem: `there is no link "${value}"; use one of ${[...links.keys()].join(', ')}`,
    });
  };
  let disposed: Promise<void> | undefined;
  const dispose = (): Promise<void> => {
    disposed ??= (async () => {
      await Promise.all([...links.values()].map((one) => one.dispose()));
      await removeLabNetwork(id);
    })();
    return disposed;
  };
  return {
    id,
    hosts,
    outside: {
      netns: namespaceName(id, OUTSIDE),
      address: OUTSIDE_ADDRESS,
      address6: OUTSIDE_ADDRESS6,
    },
    features,
    host,
    async addTap(hostName, name, { mtu = defaultMtu } = {}) {
      checkInterfaceName(name);
      const { netns, bridge } = host(hostName);
      await ipBatch(netns, [`tuntap add dev ${name} mode tap`]);
      try {
        await ipBatch(netns, [`link set dev ${name} mtu ${mtu}`, ...port(name, bridge)]);
      } catch (error) {
        await ipBatch(netns, [`link del dev ${name}`]);
        throw error;
      }
    },
    async removeTap(hostName, name) {
      checkInterfaceName(name);
      await ipBatch(host(hostName).netns, [`link del dev ${name}`]);
    },
    setLink: async (name, shape) => link(name).set(shape),
    cutMigrationLink: async () => link(MIGRATION).cut(),
    restoreMigrationLink: async () => link(MIGRATION).restore(),
    problems: () => [...links.values()].flatMap(({ problem }) => (problem === undefined ? [] : [problem])),
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}
