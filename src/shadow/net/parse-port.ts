/** What a master keeps about one of its ports: `ip -j -d link`, `bridge -j -d vlan`, `fdb`, `mdb`. Pure. */
import { z } from 'zod';
import { isObject, jsonObjects, type Report, reportUnknownKeys, type Section } from './capture-text.ts';
import type { LinkJson } from './parse-link.ts';
import { vlansOf } from './parse-port-vlan.ts';
import type { Port, PortForward, PortGroup } from './port-model.ts';

type Settings = Port['settings'];

/** Settings of a bridge's port by the name that ip prints, with the name that it takes. */
const BRIDGE: Readonly<Record<string, string>> = {
  priority: 'priority',
  cost: 'cost',
  hairpin: 'hairpin',
  guard: 'guard',
  root_block: 'root_block',
  fastleave: 'fastleave',
  learning: 'learning',
  flood: 'flood',
  proxy_arp: 'proxy_arp',
  proxy_arp_wifi: 'proxy_arp_wifi',
  multicast_router: 'mcast_router',
  mcast_flood: 'mcast_flood',
  bcast_flood: 'bcast_flood',
  mcast_to_unicast: 'mcast_to_unicast',
  mcast_max_groups: 'mcast_max_groups',
  neigh_suppress: 'neigh_suppress',
  neigh_vlan_suppress: 'neigh_vlan_suppress',
  group_fwd_mask: 'group_fwd_mask',
  vlan_tunnel: 'vlan_tunnel',
  isolated: 'isolated',
  locked: 'locked',
  mab: 'mab',
  backup_port: 'backup_port',
  backup_nhid: 'backup_nhid',
};
/** What the bridge finds out by itself. The state too: without STP every port forwards, with it STP decides. */
const BRIDGE_STATE = new Set(
  `state id no designated_port designated_cost bridge_id root_id hold_timer message_age_timer forward_delay_timer
  topology_change_ack config_pending group_fwd_mask_str mcast_n_groups`.split(/\s+/),
);
const BOND: Readonly<Record<string, string>> = {
  queue_id: 'queue_id',
  prio: 'prio',
  actor_port_prio: 'actor_port_prio',
};
const BOND_STATE = new Set(
  `state mii_status link_failure_count perm_hwaddr ad_aggregator_id ad_actor_oper_port_state ad_partner_oper_port_state
  ad_actor_oper_port_state_str ad_partner_oper_port_state_str`.split(/\s+/),
);

function settingsOf(
  data: Record<string, unknown>,
  known: Readonly<Record<string, string>>,
  ignored: ReadonlySet<string>,
  report: Report,
): Settings {
  const found: Settings = [];
  for (const [key, value] of Object.entries(data)) {
    const name = known[key];
    if (ignored.has(key)) continue;
    if (name === undefined || value === null || typeof value === 'object') {
      report('port', `${key}=${JSON.stringify(value)}`);
    } else if (typeof value === 'boolean') found.push({ name, value: value ? 'on' : 'off' });
    // printed as a number, or in hexadecimal but for zero
    else if (name === 'group_fwd_mask') found.push({ name, value: `0x${Number(value).toString(16)}` });
    else found.push({ name, value: String(value) });
  }
  return found;
}

const InfoJson = z.looseObject({
  info_slave_data: z.record(z.string(), z.unknown()).optional(),
  info_data: z.record(z.string(), z.unknown()).optional(),
});

const infoOf = (link: LinkJson | undefined) => InfoJson.safeParse(link?.linkinfo).data;

/** Options of a port that the master's own daemon keeps. */
const BY_DAEMON: Readonly<Record<string, string>> = {
  team: 'options of a port of a team are kept by teamd, which gives them again',
  openvswitch: 'ports of Open vSwitch are kept by its daemon, which takes the interface again by its name',
};

/**
 * The port that an interface is.
 * @param master the master's own link
 * @param section `bridge`: what `bridge -j -d` printed of its VLANs, entries and groups
 * @param above MACs of interfaces that stand on this one: they are in its list of addresses by themselves
 */
export function portOf(
  link: LinkJson,
  master: LinkJson | undefined,
  section: Section | undefined,
  above: ReadonlySet<string>,
  report: Report,
): Port | undefined {
  const kind = link.linkinfo?.info_slave_kind;
  if (link.master === undefined || kind === undefined) return undefined;
  const daemon = BY_DAEMON[kind];
  if (daemon !== undefined) report('port', daemon);
  const data = infoOf(link)?.info_slave_data ?? {};
  const port: Port = {
    master: link.master,
    kind,
    settings: [],
    vlans: [],
    tunnels: [],
    forwards: [],
    groups: [],
  };
  if (kind === 'bond') {
    return { ...port, settings: settingsOf(data, BOND, BOND_STATE, report) };
  }
  if (kind !== 'bridge') {
    if (daemon === undefined && kind !== 'vrf' && Object.keys(data).length > 0) {
      report('port', `of a ${kind}: ${JSON.stringify(data)}`);
    }
    return undefined;
  }
  port.settings = settingsOf(data, BRIDGE, BRIDGE_STATE, report);
  const own = infoOf(master)?.info_data ?? {};
  if (typeof own.vlan_default_pvid === 'number') port.defaultVlan = own.vlan_default_pvid;
  if (section === undefined)
    report('port', 'there is no bridge program here: VLANs and entries are not known');
  else readBridge(section, link, above, port, report);
  return port;
}

/** What `bridge vlan` says where the kernel has no VLANs in bridges. */
const NO_VLANS = /^(RTNETLINK answers: Operation not supported|Dump terminated|\[\[\])$/;

/** What bridge prints is told apart by these keys. */
const LISTS = ['vlans', 'tunnels', 'mac', 'mdb'] as const;

function readBridge(
  section: Section,
  link: LinkJson,
  above: ReadonlySet<string>,
  port: Port,
  report: Report,
): void {
  const lines = section.lines.filter((line) => !NO_VLANS.test(line));
  // one that does not know a question says so in words
  for (const object of jsonObjects({ ...section, lines }, report)) {
    const kind = LISTS.find((each) => each in object);
    if (kind === undefined && Object.keys(object).length > 0) report('bridge', JSON.stringify(object));
    else if (kind === 'mac') {
      const forward = forwardOf(object, link, above, report);
      if (forward !== undefined) port.forwards.push(forward);
    } else if (kind === 'mdb') {
      // where the routers are the bridge finds out
      reportUnknownKeys('bridge mdb', object, new Set(['mdb', 'router']), report);
      for (const entry of Array.isArray(object.mdb) ? object.mdb : []) {
        const group = groupOf(entry, link.ifname, report);
        if (group !== undefined) port.groups.push(group);
      }
    } else if (kind !== undefined && object.ifname === link.ifname) {
      reportUnknownKeys(`bridge ${kind}`, object, new Set([kind, 'ifname']), report);
      if (kind === 'vlans') port.vlans.push(...vlansOf(object.vlans, report));
      else tunnels(object.tunnels, port, report);
    }
  }
}

const TunnelJson = z.strictObject({
  vlan: z.number(),
  vlanEnd: z.number().optional(),
  tunid: z.number(),
  tunidEnd: z.number().optional(),
});

const run = (from: number, to: number | undefined): string =>
  to === undefined || to === from ? String(from) : `${from}-${to}`;

function tunnels(list: unknown, port: Port, report: Report): void {
  for (const each of Array.isArray(list) ? list : []) {
    const { data } = TunnelJson.safeParse(each);
    if (data === undefined) report('bridge tunnel', JSON.stringify(each));
    else port.tunnels.push({ vid: run(data.vlan, data.vlanEnd), tunnel: run(data.tunid, data.tunidEnd) });
  }
}

const ForwardJson = z.looseObject({
  mac: z.string(),
  ifname: z.string().optional(),
  vlan: z.number().int().optional(),
  flags: z.array(z.string()).default([]),
  master: z.string().optional(),
  state: z.string().default(''),
});
const FORWARD_KEYS = new Set([...Object.keys(ForwardJson.shape), 'used', 'updated', 'opCode']);
const FORWARD_FLAGS = new Set(['self', 'sticky', 'extern_learn']);

function forwardOf(
  object: Record<string, unknown>,
  link: LinkJson,
  above: ReadonlySet<string>,
  report: Report,
): PortForward | undefined {
  const { data } = ForwardJson.safeParse(object);
  if (data === undefined) {
    report('bridge fdb', JSON.stringify(object));
    return undefined;
  }
  const { mac, vlan, flags, state } = data;
  const own = mac === link.address || above.has(mac);
  const multicast = (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
  if ((data.ifname ?? link.ifname) !== link.ifname || own) return undefined;
  // learned ones are learned again; groups of the interface itself are told by ip
  if (!['static', 'permanent'].includes(state) || (flags.includes('self') && multicast)) return undefined;
  const odd =
    flags.find((flag) => !FORWARD_FLAGS.has(flag)) ??
    Object.keys(object).find((key) => !FORWARD_KEYS.has(key));
  if (odd !== undefined) {
    report('bridge fdb', JSON.stringify(object));
    return undefined;
  }
  return { mac, ...(vlan === undefined ? {} : { vlan }), state, flags };
}

const GroupJson = z.looseObject({
  port: z.string(),
  grp: z.string(),
  src: z.string().optional(),
  state: z.string(),
  vid: z.number().int().optional(),
});
const GROUP_KEYS = new Set([
  ...Object.keys(GroupJson.shape),
  'index',
  'dev',
  'protocol',
  'flags',
  'timer',
  'filter_mode',
]);

function groupOf(entry: unknown, name: string, report: Report): PortGroup | undefined {
  const { data } = GroupJson.safeParse(entry);
  if (data === undefined || !isObject(entry)) {
    report('bridge mdb', JSON.stringify(entry));
    return undefined;
  }
  if (data.port !== name || data.state !== 'permanent') return undefined;
  if (Object.keys(entry).some((key) => !GROUP_KEYS.has(key))) {
    report('bridge mdb', JSON.stringify(entry));
    return undefined;
  }
  const { grp, src, vid } = data;
  return {
    group: grp,
    ...(src === undefined ? {} : { source: src }),
    ...(vid === undefined ? {} : { vid }),
  };
}
