import { ShadowferryError } from '../../errors.ts';

/** Where iproute2 pins network namespaces. */
export const NETNS_DIRECTORY = '/run/netns';

/** The label of the namespace where the peers outside live; no host may be called so. */
export const OUTSIDE = 'out';

/** Addresses of the peer outside, on the switch that both hosts' uplinks end in. */
export const OUTSIDE_ADDRESS = '10.77.0.1';
export const OUTSIDE_ADDRESS6 = 'fd77::1';

/** Names of the interfaces; each lives in a namespace of its own, so they need no id. */
export const DEVICE = {
  /** The host's bridge, where the VMs' taps and the uplink meet. */
  bridge: 'br0',
  /** The host's end of its uplink. */
  uplink: 'up0',
  /** The bridge outside, where the uplinks meet. */
  switch: 'sw0',
  /** The migration network's interface on a host: a bridge, so that what is behind it can be exchanged. */
  migration: 'mig0',
  /** The host's end of the wire between the hosts, a port of `mig0`. */
  migrationWire: 'migw0',
} as const;

/** The name of the port outside that the uplink of `host` ends in, on the VMs' network number `network`. */
export function switchPort(host: string, network = 0): string {
  return network === 0 ? `port-${host}` : `port-${host}-${network}`;
}

/** One of the networks that VMs are on: a bridge on each host, an uplink, and a switch outside with a peer's address. */
export interface Segment {
  bridge: string;
  uplink: string;
  switch: string;
  /** Second byte of its IPv4 subnet 10.N.0.0/24, and in decimal digits of its IPv6 prefix fdN::/64. */
  subnet: number;
  /** Of the peer outside. */
  address: string;
  address6: string;
}

/** Most networks of VMs in one lab. */
export const MOST_NETWORKS = 8;

/** The VMs' network number `n`; 10.78 is the network between the hosts. */
export function segment(n: number): Segment {
  if (n === 0) {
    const { bridge, uplink, switch: outside } = DEVICE;
    return {
      ...{ bridge, uplink, switch: outside, subnet: 77 },
      ...{ address: OUTSIDE_ADDRESS, address6: OUTSIDE_ADDRESS6 },
    };
  }
  const subnet = 80 + n;
  return {
    ...{ bridge: `br${n}`, uplink: `up${n}`, switch: `sw${n}`, subnet },
    ...{ address: `10.${subnet}.0.1`, address6: `fd${subnet}::1` },
  };
}

/** The name of the network namespace that holds `member` (a host's name or `out`) of lab network `id`. */
export function namespaceName(id: string, member: string): string {
  return `sf-${id}-${member}`;
}

/** The member that namespace `name` belongs to in lab network `id`, or undefined when it is another's. */
export function memberOf(id: string, name: string): string | undefined {
  const prefix = `sf-${id}-`;
  if (!name.startsWith(prefix)) return undefined;
  const member = name.slice(prefix.length);
  return /^[a-z0-9]{1,8}$/.test(member) ? member : undefined;
}

/** @throws ShadowferryError INPUT_FIELD when `id` cannot be part of a namespace's name. */
export function checkId(id: string): void {
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(id)) {
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'id',
      problem: `"${id}" must be 1 to 32 of the characters a-z, 0-9 and -`,
    });
  }
}

/** @throws ShadowferryError INPUT_FIELD when `host` cannot be part of a namespace's or a port's name. */
export function checkHostName(host: string): void {
  if (!/^[a-z0-9]{1,8}$/.test(host) || host === OUTSIDE) {
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'hosts',
      problem: `"${host}" must be 1 to 8 of the characters a-z and 0-9, and not "${OUTSIDE}"`,
    });
  }
}

/** @throws ShadowferryError INPUT_FIELD when Linux would not take `name` for an interface. */
export function checkInterfaceName(name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(name)) {
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'interface',
      problem: `"${name}" must be 1 to 15 of the characters A-Z, a-z, 0-9, _, . and -`,
    });
  }
}
