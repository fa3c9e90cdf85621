/**
 * The shadow of a Linux network device: its captured state, typed and versioned (Kadav & Swift, "Live Migration of
 * Direct-Access Devices"). Plain data: it is stored in the journal, compiled into a replay plan and compared
 * with what the new device shows afterwards.
 */
import { z } from 'zod';
import { Port } from './port-model.ts';
import { QueueLayout } from './queue-model.ts';

/** How one direct device is found in a guest: by MAC and PCI path, never by name. */
export const DeviceIdentity = z.object({
  /** Lower case, colon separated. */
  mac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
  /** PCI address in the guest, `0000:01:00.0`. */
  pciPath: z.string().regex(/^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/),
});
export type DeviceIdentity = z.infer<typeof DeviceIdentity>;

/** What the direct device itself is. */
export const Hardware = DeviceIdentity.extend({
  /** Name of the interface in the guest at capture time. */
  name: z.string(),
  driver: z.string(),
  driverVersion: z.string().optional(),
  /** Release of the guest's kernel, of which most drivers are a part. */
  kernel: z.string().optional(),
  /** Which boot of the guest it was seen in. */
  boot: z.string().optional(),
  /** `vvvv:dddd`, vendor and device id. */
  pciId: z.string().regex(/^[0-9a-f]{4}:[0-9a-f]{4}$/),
});
export type Hardware = z.infer<typeof Hardware>;

/** A program in the kernel that is attached to an interface. */
export const KernelProgram = z.object({
  id: z.number().int(),
  name: z.string().optional(),
  tag: z.string().optional(),
  /** File below /sys/fs/bpf that keeps it, where there is one. */
  pin: z.string().optional(),
  /** Why it cannot be attached again, when it has no pin. */
  why: z.string().optional(),
});
export type KernelProgram = z.infer<typeof KernelProgram>;

/** A program that sees frames before the network stack does; `generic`: run by the kernel, for any device. */
export const XdpProgram = KernelProgram.extend({ mode: z.enum(['native', 'generic', 'offload']) });
export type XdpProgram = z.infer<typeof XdpProgram>;

/** Link-level state of the interface that carries addresses (the shadow interface where there is one). */
export const LinkState = z.object({
  name: z.string(),
  ifindex: z.number().int(),
  mac: z.string(),
  mtu: z.number().int(),
  txqueuelen: z.number().int(),
  alias: z.string().optional(),
  up: z.boolean(),
  /** User-set promiscuity (IFF_PROMISC), not the kernel's reference count. */
  promisc: z.boolean(),
  allmulti: z.boolean(),
  multicast: z.boolean(),
  arp: z.boolean(),
  group: z.string(),
  ipv6Token: z.string().optional(),
  addrGenMode: z.string().optional(),
  /** Further names that the interface answers to. */
  altnames: z.array(z.string()).optional(),
  /** What it is enslaved to, unless that is its shadow interface; `kind` as `ip link` names it (bridge, vrf). */
  master: z.object({ name: z.string(), kind: z.string() }).optional(),
  xdp: z.array(XdpProgram).optional(),
});
export type LinkState = z.infer<typeof LinkState>;

export const Address = z.object({
  family: z.enum(['inet', 'inet6']),
  local: z.string(),
  prefix: z.number().int(),
  peer: z.string().optional(),
  broadcast: z.string().optional(),
  scope: z.string(),
  label: z.string().optional(),
  /** Flags that `ip address add` takes: home, mngtmpaddr, nodad, noprefixroute, autojoin. */
  flags: z.array(z.string()),
  /** Kernel-made state that is reported, never replayed: dynamic, temporary, deprecated, tentative, dadfailed. */
  state: z.array(z.string()),
  metric: z.number().int().optional(),
  /** Seconds; absent when they last for ever. */
  validSeconds: z.number().int().optional(),
  preferredSeconds: z.number().int().optional(),
  protocol: z.string().optional(),
});
export type Address = z.infer<typeof Address>;

/**
 * One route that leaves by the interface. `args` is what `ip route add TYPE DESTINATION` needs after the
 * destination, in order, `dev` and (but for main) `table` with it.
 */
export const Route = z.object({
  family: z.enum(['inet', 'inet6']),
  table: z.string(),
  type: z.string(),
  destination: z.string(),
  args: z.array(z.string()),
  /** Made by the kernel with an address (proto kernel): it comes back with the address, and is only verified. */
  automatic: z.boolean(),
  /** Several next hops of which at least one leaves by the interface. */
  multipath: z.boolean(),
});
export type Route = z.infer<typeof Route>;

/** A rule that names the interface (iif/oif), or one that selects a table only this interface's routes are in. */
export const Rule = z.object({
  family: z.enum(['inet', 'inet6']),
  priority: z.number().int(),
  args: z.array(z.string()),
});
export type Rule = z.infer<typeof Rule>;

export const Neighbour = z.object({
  family: z.enum(['inet', 'inet6']),
  address: z.string(),
  mac: z.string().optional(),
  /** `permanent` and `noarp` are configuration; anything else is learned and only primes the new device. */
  state: z.string(),
  proxy: z.boolean(),
  router: z.boolean(),
  externLearn: z.boolean(),
});
export type Neighbour = z.infer<typeof Neighbour>;

/** One explicitly configured qdisc (handle not 0:), with the arguments that `tc qdisc replace` takes. */
export const Qdisc = z.object({
  kind: z.string(),
  handle: z.string(),
  parent: z.string(),
  args: z.array(z.string()),
  /** Words that stand before the kind: a size table (`stab …`), shared blocks (`ingress_block 22`). */
  before: z.array(z.string()).optional(),
});
export type Qdisc = z.infer<typeof Qdisc>;

/** One class that somebody made below a qdisc, with the arguments that `tc class replace` takes. */
export const TcClass = z.object({
  kind: z.string(),
  /** `1:10`. */
  id: z.string(),
  /** A class (`1:1`) or the qdisc itself (`1:`). */
  parent: z.string(),
  args: z.array(z.string()),
});
export type TcClass = z.infer<typeof TcClass>;

/** One filter, with the arguments that `tc filter replace` takes after the kind. */
export const TcFilter = z.object({
  /** Where it hangs: `ingress`, `egress`, `block 22`, a qdisc (`1:`) or a class (`1:1`). */
  place: z.string(),
  protocol: z.string(),
  pref: z.number().int(),
  chain: z.number().int(),
  kind: z.string(),
  handle: z.string(),
  args: z.array(z.string()),
  /** Of a filter that is a program. */
  program: KernelProgram.optional(),
});
export type TcFilter = z.infer<typeof TcFilter>;

export const Multicast = z.object({
  family: z.enum(['link', 'inet', 'inet6']),
  address: z.string(),
  users: z.number().int(),
  /** Added by an administrator (`ip maddress add`), hence replayed. */
  static: z.boolean(),
});
export type Multicast = z.infer<typeof Multicast>;

export const Feature = z.object({ name: z.string(), on: z.boolean(), fixed: z.boolean() });
export type Feature = z.infer<typeof Feature>;

/** Numeric settings of the driver with the largest value it takes, where it says one. */
export const Setting = z.object({ name: z.string(), value: z.string(), max: z.string().optional() });
export type Setting = z.infer<typeof Setting>;

/** State that lives in the direct device's driver. */
export const DriverState = z.object({
  features: z.array(Feature),
  rings: z.array(Setting),
  channels: z.array(Setting),
  coalesce: z.array(Setting),
  pause: z.array(Setting),
  /** Everything else that is set on the driver, its queues and its interrupts, by the key of its attribute. */
  tuning: z.array(Setting).optional(),
  layout: QueueLayout.optional(),
  maxMtu: z.number().int().optional(),
  minMtu: z.number().int().optional(),
});
export type DriverState = z.infer<typeof DriverState>;

/** A sysctl of the interface: `path` below /proc/sys/net with `{dev}` for the name, e.g. `ipv4/conf/{dev}/rp_filter`. */
export const Sysctl = z.object({ path: z.string(), value: z.string() });
export type Sysctl = z.infer<typeof Sysctl>;

/**
 * An interface that stands on the device (VLAN, macvlan, ipvlan, tunnel bound to it) or on another such one. It has the
 * same layers as the device.
 */
export const Upper = z.object({
  /** As `ip link` names it: vlan, macvlan, vxlan, gre, … */
  kind: z.string(),
  /** Name of the interface that it stands on. */
  over: z.string(),
  /** What `ip link add … type KIND` needs besides the interface that it stands on. */
  args: z.array(z.string()),
  link: LinkState,
  addresses: z.array(Address),
  routes: z.array(Route),
  neighbours: z.array(Neighbour),
  qdiscs: z.array(Qdisc),
  multicast: z.array(Multicast),
  sysctls: z.array(Sysctl),
  /** Entries of a VXLAN's forwarding table, as `bridge fdb append` takes them after the verb. */
  forwarding: z.array(z.array(z.string())),
});
export type Upper = z.infer<typeof Upper>;

/** A nexthop object on the interface or on one that stands on it, or a group that has one. `args` follow the id. */
export const Nexthop = z.object({
  id: z.number().int(),
  /** The interface; absent for a group. */
  dev: z.string().optional(),
  args: z.array(z.string()),
});
export type Nexthop = z.infer<typeof Nexthop>;

/** Something that is bound to the index of the interface, or of one that stands on it, and is no part of either. */
export const Dependent = z.object({
  kind: z.enum(['socket', 'packet-socket', 'multicast', 'firewall', 'upper']),
  /** Interface that it is bound to. */
  on: z.string(),
  what: z.string(),
  /** Names of the programs that hold it. */
  owner: z.string().optional(),
  /** What `nft` takes to bind it to the interface anew, where that is exact. */
  nft: z.string().optional(),
});
export type Dependent = z.infer<typeof Dependent>;

/** The kernel object that stands above the direct device, where there is one. */
export const StandIn = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('none') }),
  z.object({
    kind: z.literal('bond'),
    name: z.string(),
    members: z.array(z.string()),
    active: z.string().optional(),
    options: z.record(z.string(), z.string()),
  }),
  z.object({ kind: z.literal('failover'), name: z.string(), standby: z.string().optional() }),
]);
export type StandIn = z.infer<typeof StandIn>;

/** The standby's interface in the guest, where the VM has one. */
export const StandbyInterface = z.object({
  name: z.string(),
  mac: z.string(),
  pciPath: z.string(),
  driver: z.string(),
});
export type StandbyInterface = z.infer<typeof StandbyInterface>;

export const NetShadow = z.object({
  schema: z.literal(1),
  /** Present unless the direct device was away at capture time. */
  hardware: Hardware.optional(),
  standIn: StandIn,
  standby: StandbyInterface.optional(),
  /** Link state of the interface that carries the addresses. */
  link: LinkState,
  /** Link state of the direct device when it lies below a shadow interface. */
  lower: LinkState.optional(),
  /** What the master of the interface that carries the addresses keeps about it. */
  port: Port.optional(),
  /** What the shadow interface keeps about the direct device. */
  lowerPort: Port.optional(),
  addresses: z.array(Address),
  routes: z.array(Route),
  rules: z.array(Rule),
  neighbours: z.array(Neighbour),
  qdiscs: z.array(Qdisc),
  classes: z.array(TcClass).optional(),
  filters: z.array(TcFilter).optional(),
  multicast: z.array(Multicast),
  driver: DriverState.optional(),
  sysctls: z.array(Sysctl),
  /** What stands on the interface, each after the one that it stands on. Absent in shadows of earlier releases. */
  uppers: z.array(Upper).optional(),
  /** In the order in which they can be made: groups last. */
  nexthops: z.array(Nexthop).optional(),
  /** Absent where nobody looked. */
  dependents: z.array(Dependent).optional(),
  /** What was seen and could not be understood: kept and reported, never dropped in silence. */
  unknown: z.array(z.object({ where: z.string(), text: z.string() })),
});
export type NetShadow = z.infer<typeof NetShadow>;

/** One attribute of a shadow in canonical form; `key` is stable across devices and across interface names. */
export interface Attribute {
  key: string;
  value: string;
}

/** What became of one attribute (rule 10 of the house: nothing is silent). */
export type Outcome =
  | { fate: 'restored'; key: string; value: string }
  | { fate: 'adapted'; key: string; value: string; now: string; how: string }
  | { fate: 'lost'; key: string; value: string; why: string };

/** What a kind of device can do, learned from one that was seen before; keyed by PCI id, driver and its version. */
export const DeviceAbilities = z.object({
  pciId: z.string(),
  driver: z.string(),
  features: z.array(Feature),
  rings: z.array(Setting),
  channels: z.array(Setting),
  coalesce: z.array(Setting),
  /** Absent in what was learned before it was kept. */
  pause: z.array(Setting).optional(),
  tuning: z.array(Setting).optional(),
  layout: QueueLayout.optional(),
  /** Version of the driver, or else release of the kernel that it is a part of. */
  version: z.string().optional(),
  /** What the driver sets by itself on a device that nobody has touched, by key of the attribute. */
  defaults: z.record(z.string(), z.string()).optional(),
  maxMtu: z.number().int().optional(),
});
export type DeviceAbilities = z.infer<typeof DeviceAbilities>;
