import { DEVICE, namespaceName, OUTSIDE, segment, switchPort } from './names.ts';

/** What one lab network is made of. */
export interface Topology {
  id: string;
  hosts: readonly [string, string];
  /** Bytes; the same on every interface. */
  mtu: number;
  /** Networks that the VMs are on; 1 unless told. */
  networks?: number;
}

/** What to do, stage by stage; within a stage the namespaces (the maps' keys) are independent. */
export interface TopologyBatches {
  /** For `ip -batch`, in the caller's namespace. */
  create: string[];
  /** For `ip -batch`. */
  start: Map<string, string[]>;
  /** Names of interfaces that must have a carrier before the next stage. */
  wires: Map<string, string[]>;
  /** For `ip -batch`. */
  bridge: Map<string, string[]>;
}

const BRIDGE = 'type bridge stp_state 0 forward_delay 0 mcast_snooping 0';

/** The address of host number `index` (0 or 1) on the migration network. */
export function migrationAddress(index: number): string {
  return `10.78.0.${index + 1}`;
}

/**
 * Compiles a lab network to the commands of iproute2 that build it.
 *
 * The kernel may take a second to notice a carrier, unless the interface and its peer differ in index; and a bridge
 * that comes up before its first port has a carrier waits for that second too. Hence the indexes and the stages.
 */
export function topologyBatches({ id, hosts, mtu, networks = 1 }: Topology): TopologyBatches {
  const numbers = Array.from({ length: networks }, (_, n) => n);
  const outside = namespaceName(id, OUTSIDE);
  const spaces = hosts.map((host) => namespaceName(id, host));
  const [a, b] = spaces as [string, string];
  const create = [
    ...[a, b, outside].map((netns) => `netns add ${netns}`),
    veth(mtu, { netns: a, name: DEVICE.migrationWire }, { netns: b, name: DEVICE.migrationWire }, 10),
    ...numbers.flatMap((n) =>
      hosts.map((host, index) =>
        veth(
          mtu,
          { netns: namespaceName(id, host), name: segment(n).uplink },
          { netns: outside, name: switchPort(host, n) },
          20 + 20 * n + 2 * index,
        ),
      ),
    ),
  ];
  const wires = new Map([
    ...spaces.map((netns): [string, string[]] => [
      netns,
      [DEVICE.migrationWire, ...numbers.map((n) => segment(n).uplink)],
    ]),
    [outside, numbers.flatMap((n) => hosts.map((host) => switchPort(host, n)))],
  ]);
  const start = new Map(
    [...wires].map(([netns, names]) => [netns, ['link set dev lo up', ...names.flatMap(upQuietly)]]),
  );
  const bridge = new Map<string, string[]>();
  for (const [index, netns] of spaces.entries()) {
    bridge.set(netns, [
      ...numbers
        .map(segment)
        .flatMap((each) => [
          `link add name ${each.bridge} mtu ${mtu} ${BRIDGE}`,
          `link set dev ${each.uplink} master ${each.bridge}`,
          ...upQuietly(each.bridge),
        ]),
      `link add name ${DEVICE.migration} address 02:53:46:78:00:0${index + 1} mtu ${mtu} ${BRIDGE}`,
      `link set dev ${DEVICE.migrationWire} master ${DEVICE.migration}`,
      ...upQuietly(DEVICE.migration),
      `addr add ${migrationAddress(index)}/24 dev ${DEVICE.migration}`,
    ]);
  }
  const switches = numbers.flatMap((n) => {
    const { switch: name, address, address6 } = segment(n);
    return [
      `link add name ${name} address 02:53:46:77:00:0${n + 1} mtu ${mtu} ${BRIDGE}`,
      ...hosts.map((host) => `link set dev ${switchPort(host, n)} master ${name}`),
      ...upQuietly(name),
      `addr add ${address}/24 dev ${name}`,
      `addr add ${address6}/64 dev ${name} nodad`,
      `addr add fe80::1/64 dev ${name} nodad`,
    ];
  });
  bridge.set(outside, switches);
  return { create, start, wires, bridge };
}

interface VethEnd {
  netns: string;
  name: string;
}

function veth(mtu: number, a: VethEnd, b: VethEnd, index: number): string {
  return (
    `link add name ${a.name} index ${index} mtu ${mtu} netns ${a.netns} type veth ` +
    `peer name ${b.name} index ${index + 1} mtu ${mtu} netns ${b.netns}`
  );
}

/**
 * Starts an interface without a link-local address: hosts and switch must not add their own multicast to what a probe
 * sees. Two commands, because one would start it first.
 */
function upQuietly(name: string): string[] {
  return [`link set dev ${name} addrgenmode none`, `link set dev ${name} up`];
}

/** The commands that make interface `name` a port of `bridge` and start it. */
export function port(name: string, bridge: string): string[] {
  return [`link set dev ${name} master ${bridge}`, ...upQuietly(name)];
}
