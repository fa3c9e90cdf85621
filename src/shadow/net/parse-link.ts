/** `ip -j -d address show`: link state and addresses. Pure. */
import { z } from 'zod';
import { isObject, notACapture, type Report, reportUnknownKeys } from './capture-text.ts';
import type { Address, LinkState } from './model.ts';
import { xdpOf } from './parse-programs.ts';
import type { FindPin } from './parse-tc-filter.ts';

const Text = z.union([z.string(), z.number()]).transform(String);

/** One interface as `ip` prints it, with its addresses. */
const LinkJson = z.looseObject({
  ifindex: z.number().int(),
  ifname: z.string(),
  flags: z.array(z.string()).default([]),
  mtu: z.number().int(),
  txqlen: z.number().int().default(0),
  group: Text.default('default'),
  address: z.string().default(''),
  permaddr: z.string().optional(),
  ifalias: z.string().optional(),
  altnames: z.array(z.string()).optional(),
  master: z.string().optional(),
  xdp: z.unknown().optional(),
  min_mtu: z.number().int().optional(),
  max_mtu: z.number().int().optional(),
  linkinfo: z
    .looseObject({ info_kind: z.string().optional(), info_slave_kind: z.string().optional() })
    .optional(),
  addr_info: z.array(z.looseObject({})).default([]),
});
export type LinkJson = z.infer<typeof LinkJson>;

/** Keys that say nothing that could be replayed: counts, sizes and state that follow from other attributes. */
const LINK_KEYS = new Set(
  `${Object.keys(LinkJson.shape).join(' ')} link link_index link_netnsid link_netns qdisc operstate linkmode
  link_type broadcast link_pointtopoint promiscuity allmulti inet6_addr_gen_mode num_tx_queues num_rx_queues gso_max_size
  gso_max_segs gso_ipv4_max_size gro_max_size gro_ipv4_max_size tso_max_size tso_max_segs phys_port_id phys_port_name
  phys_switch_id parentbus parentdev min_mtu max_mtu xdp_attached numtxqueues numrxqueues carrier_changes headroom
  tailroom netns-immutable`.split(/\s+/),
);

const INFO_KEYS = new Set(['info_kind', 'info_data', 'info_slave_kind', 'info_slave_data']);

/** What ip says of a bond: its options, which are read from sysfs, all that are there; and its state. */
const BOND_KEYS = new Set(
  `mode active_slave miimon updelay downdelay peer_notify_delay use_carrier arp_interval arp_missed_max arp_ip_target
  ns_ip6_target arp_validate arp_all_targets primary primary_reselect fail_over_mac xmit_hash_policy resend_igmp
  num_peer_notif all_slaves_active min_links lp_interval packets_per_slave ad_lacp_active ad_lacp_rate ad_select ad_info
  ad_actor_sys_prio ad_user_port_key ad_actor_system tlb_dynamic_lb coupled_control broadcast_neighbor`.split(
    /\s+/,
  ),
);

/**
 * Reads one interface.
 * @throws ShadowferryError GUEST_COMMAND_FAILED when it lacks what every interface has.
 */
export function readLink(object: Record<string, unknown>): LinkJson {
  const parsed = LinkJson.safeParse(object);
  if (parsed.success) return parsed.data;
  throw notACapture(`interface ${JSON.stringify(object.ifname)}: ${z.prettifyError(parsed.error)}`);
}

/** Link state from what `ip` printed. `token` is the interface's IPv6 token, `genMode` its sysctl addr_gen_mode. */
export function linkStateOf(
  link: LinkJson,
  extra: {
    token?: string | undefined;
    genMode?: string | undefined;
    shadowInterface?: string | undefined;
    findPin: FindPin;
  },
  report: Report,
): LinkState {
  reportUnknownKeys(`link ${link.ifname}`, link, LINK_KEYS, report);
  reportUnknownKeys(`link ${link.ifname}`, link.linkinfo ?? {}, INFO_KEYS, report);
  if (link.linkinfo?.info_kind === 'bond' && isObject(link.linkinfo.info_data)) {
    reportUnknownKeys(`bond ${link.ifname}`, link.linkinfo.info_data, BOND_KEYS, report);
  }
  const flags = new Set(link.flags);
  const xdp = xdpOf(link.xdp, link.ifname, extra.findPin, report);
  const { token, genMode, shadowInterface } = extra;
  const enslaved = link.master !== undefined && link.master !== shadowInterface;
  return {
    name: link.ifname,
    ifindex: link.ifindex,
    mac: link.address,
    mtu: link.mtu,
    txqueuelen: link.txqlen,
    ...(link.ifalias === undefined ? {} : { alias: link.ifalias }),
    up: flags.has('UP'),
    promisc: flags.has('PROMISC'), // netlink shows the user's own wish here, unlike sysfs
    allmulti: flags.has('ALLMULTI'),
    multicast: flags.has('MULTICAST'),
    arp: !flags.has('NOARP'),
    group: link.group,
    ...(token === undefined || token === '::' ? {} : { ipv6Token: token }),
    ...(genMode === undefined ? {} : { addrGenMode: ADDR_GEN_MODES[genMode] ?? genMode }),
    ...(link.altnames === undefined || link.altnames.length === 0 ? {} : { altnames: link.altnames }),
    ...(enslaved && link.master !== undefined
      ? { master: { name: link.master, kind: link.linkinfo?.info_slave_kind ?? 'unknown' } }
      : {}),
    ...(xdp.length === 0 ? {} : { xdp }),
  };
}

/** As `ip link set addrgenmode` names them. */
const ADDR_GEN_MODES: Record<string, string> = { 0: 'eui64', 1: 'none', 2: 'stable_secret', 3: 'random' };

/** 2^32 - 1 seconds mean for ever. */
const FOREVER = 4294967295;

const AddressJson = z.looseObject({
  family: z.enum(['inet', 'inet6']),
  local: z.string(),
  address: z.string().optional(),
  prefixlen: z.number().int(),
  metric: z.number().int().optional(),
  broadcast: z.string().optional(),
  scope: Text.default('global'),
  label: z.string().optional(),
  protocol: Text.optional(),
  valid_life_time: z.number().optional(),
  preferred_life_time: z.number().optional(),
});
const SETTABLE_FLAGS = ['home', 'mngtmpaddr', 'nodad', 'noprefixroute', 'autojoin'];
const STATE_FLAGS =
  'dynamic temporary secondary deprecated tentative optimistic dadfailed stable-privacy permanent'.split(' ');
const ADDRESS_KEYS = new Set([...Object.keys(AddressJson.shape), ...SETTABLE_FLAGS, ...STATE_FLAGS]);

/** Addresses of one interface, in the kernel's order (it tells primary from secondary ones). */
export function addressesOf(link: LinkJson, report: Report): Address[] {
  const addresses: Address[] = [];
  for (const item of link.addr_info) {
    if (Object.keys(item).length === 0) continue;
    const parsed = AddressJson.safeParse(item);
    if (!parsed.success) {
      report('address', JSON.stringify(item));
      continue;
    }
    const found = parsed.data;
    reportUnknownKeys(`address ${found.local}`, item, ADDRESS_KEYS, report);
    const flags = SETTABLE_FLAGS.filter((flag) => item[flag] === true);
    const state = STATE_FLAGS.filter((flag) => item[flag] === true);
    const protocol = found.protocol ?? guessProtocol(found, flags, state, link.address);
    addresses.push({
      family: found.family,
      local: found.local,
      prefix: found.prefixlen,
      ...(found.address === undefined ? {} : { peer: found.address }),
      ...(found.broadcast === undefined ? {} : { broadcast: found.broadcast }),
      scope: found.scope,
      ...(found.label === undefined ? {} : { label: found.label }),
      flags,
      state,
      ...(found.metric === undefined ? {} : { metric: found.metric }),
      ...lifetime('validSeconds', found.valid_life_time),
      ...lifetime('preferredSeconds', found.preferred_life_time),
      ...(protocol === undefined ? {} : { protocol }),
    });
  }
  return addresses;
}

function lifetime<K extends string>(key: K, seconds: number | undefined): Partial<Record<K, number>> {
  if (seconds === undefined || seconds >= FOREVER) return {};
  return { [key]: seconds } as Partial<Record<K, number>>;
}

/**
 * Who made an address, where iproute2 (before 6.3) does not say: the kernel makes a link-local address from the
 * MAC or a secret, and others from router advertisements.
 */
function guessProtocol(
  address: z.infer<typeof AddressJson>,
  flags: readonly string[],
  state: readonly string[],
  mac: string,
): string | undefined {
  if (address.family !== 'inet6' || address.prefixlen !== 64) return undefined;
  const generated = state.includes('stable-privacy') || address.local.endsWith(`:${eui64(mac)}`);
  if (address.local.startsWith('fe80:')) return generated ? 'kernel_ll' : undefined;
  const fromRouter = state.includes('dynamic') && !flags.includes('noprefixroute');
  return fromRouter && (generated || flags.includes('mngtmpaddr') || state.includes('temporary'))
    ? 'kernel_ra'
    : undefined;
}

/** The lower half of an IPv6 address made from a MAC, as the kernel prints it at the end of one. */
function eui64(mac: string): string {
  const bytes = mac.split(':').map((byte) => Number.parseInt(byte, 16));
  if (bytes.length !== 6 || bytes.some(Number.isNaN)) return 'none';
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const groups = [((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f];
  const text = groups.map((group) => group.toString(16)).join(':');
  return text.replace(/^0:/, ''); // `fe80::ff:fe00:1`, where the first group joins the zeros before it
}
