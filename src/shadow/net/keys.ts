/**
 * Keys of a shadow's attributes: the one place that spells them, shared by capture, plan and verification.
 * A key is stable across devices, drivers and (but for the arguments of rules) interface names.
 */
import type {
  Address,
  Dependent,
  LinkState,
  Multicast,
  Neighbour,
  Nexthop,
  Qdisc,
  Route,
  Rule,
  Sysctl,
  TcClass,
  TcFilter,
} from './model.ts';
import { ownValue } from './route-words.ts';

/** Fields of a link that are attributes. `ifindex` and `name` are attributes too: they are what `replay` may lose. */
export type LinkField = keyof LinkState;

/** `link.mtu`: the interface that carries the addresses. */
export const linkKey = (field: LinkField): string => `link.${field}`;

/** `lower.mtu`: the direct device below a shadow interface. */
export const lowerKey = (field: LinkField): string => `lower.${field}`;

/** `bond.miimon`: an option of a shadow interface that is a bond. */
export const bondKey = (option: string): string => `bond.${option}`;

/** `address.inet.10.77.0.10/24`, with `,peer=…` for a point-to-point address. */
export function addressKey(address: Pick<Address, 'family' | 'local' | 'prefix' | 'peer'>): string {
  const peer = address.peer === undefined ? '' : `,peer=${address.peer}`;
  return `address.${address.family}.${address.local}/${address.prefix}${peer}`;
}

/** Arguments that tell routes to one destination in one table apart. */
const ROUTE_IDENTITY = ['tos', 'metric', 'via'] as const;

/**
 * `route.inet.main.10.1.0.0/16`, followed by what else identifies the route: `,type=local` (when not unicast),
 * `,tos=…`, `,metric=…`, `,via=…` (the address alone, also for `via inet6 ADDRESS`).
 */
export function routeKey(route: Pick<Route, 'family' | 'table' | 'type' | 'destination' | 'args'>): string {
  let key = `route.${route.family}.${route.table}.${route.destination}`;
  if (route.type !== 'unicast') key += `,type=${route.type}`;
  for (const name of ROUTE_IDENTITY) {
    const value = ownValue(route.args, name);
    if (value !== undefined) key += `,${name}=${value}`;
  }
  return key;
}

/** `rule.inet.100.from 10.0.0.0/8 lookup 7`: several rules may share a priority. */
export const ruleKey = (rule: Pick<Rule, 'family' | 'priority' | 'args'>): string =>
  `rule.${rule.family}.${rule.priority}.${rule.args.join(' ')}`;

/** `neighbour.inet.10.77.0.1`, `neighbour.inet.10.77.0.9,proxy` for a proxy entry. */
export const neighbourKey = (neighbour: Pick<Neighbour, 'family' | 'address' | 'proxy'>): string =>
  `neighbour.${neighbour.family}.${neighbour.address}${neighbour.proxy ? ',proxy' : ''}`;

/** `qdisc.root`, `qdisc.1:10`. */
export const qdiscKey = (qdisc: Pick<Qdisc, 'parent'>): string => `qdisc.${qdisc.parent}`;

/** `port.cost`, `port.vlan.10`: what the master keeps; `bond.port.prio` below a shadow interface. */
export const portKey = (prefix: string, name: string): string => `${prefix}.${name}`;

/** `tcclass.1:10`. */
export const tcClassKey = ({ id }: Pick<TcClass, 'id'>): string => `tcclass.${id}`;

/** `filter.ingress.10.ip.0x1`, `filter.1:.chain=5.10.ip.::800`: place, chain (but for 0), pref, protocol, handle. */
export function filterKey(
  filter: Pick<TcFilter, 'place' | 'chain' | 'pref' | 'protocol' | 'handle'>,
): string {
  const { place, chain, pref, protocol, handle } = filter;
  const where = [place.replace(' ', ''), ...(chain === 0 ? [] : [`chain=${chain}`])];
  return ['filter', ...where, pref, protocol, handle].join('.');
}

/** `multicast.link.01:00:5e:00:00:fb`, `multicast.inet.224.0.0.251`. */
export const multicastKey = (multicast: Pick<Multicast, 'family' | 'address'>): string =>
  `multicast.${multicast.family}.${multicast.address}`;

/** `feature.tx-checksum-ipv4`: a name as `ethtool -k` prints it. */
export const featureKey = (name: string): string => `feature.${name}`;

/** `ring.rx`: a name of `Setting` in `DriverState.rings`. */
export const ringKey = (name: string): string => `ring.${name}`;

/** `channel.combined`. */
export const channelKey = (name: string): string => `channel.${name}`;

/** `coalesce.rx-usecs`. */
export const coalesceKey = (name: string): string => `coalesce.${name}`;

/** `pause.autoneg`. */
export const pauseKey = (name: string): string => `pause.${name}`;

/** `rss.spread`, `queue.rx-0.rps_cpus`, `irq.tx-1`: such settings are kept by the key of their attribute. */
export const tuningKey = (name: string): string => name;

/** `sysctl.ipv4.conf.rp_filter` from the path `ipv4/conf/{dev}/rp_filter`: the interface's name is left out. */
export const sysctlKey = (sysctl: Pick<Sysctl, 'path'>): string =>
  `sysctl.${sysctl.path
    .split('/')
    .filter((part) => part !== '{dev}')
    .join('.')}`;

/** `nexthop.5`. */
export const nexthopKey = (nexthop: Pick<Nexthop, 'id'>): string => `nexthop.${nexthop.id}`;

/** `upper.lan0.10/link.mtu`: attribute `key` of an interface that stands on the device. Names hold no slash. */
export const upperKey = (name: string, key: string): string => `upper.${name}/${key}`;

/** The key of the attribute that an upper interface's has below its own name; any other key as it is. */
export const keyWithin = (key: string): string => key.replace(/^upper\.[^/]*\//, '');

/** `dependent.socket.eth0.udp 0.0.0.0:68`. */
export const dependentKey = ({ kind, on, what }: Pick<Dependent, 'kind' | 'on' | 'what'>): string =>
  `dependent.${kind}.${on}.${what}`;
