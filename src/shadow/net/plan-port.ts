/** An interface becomes a port of its master again, with all that the master kept about it. */
import { portKey } from './keys.ts';
import { type Draft, draft } from './plan-draft.ts';
import type { Stage } from './plan-model.ts';
import type { Port, PortForward, PortVlan } from './port-model.ts';

/** What a new port has; anything else is set. */
const FRESH: Readonly<Record<string, string>> = {
  priority: '32',
  hairpin: 'off',
  guard: 'off',
  root_block: 'off',
  fastleave: 'off',
  learning: 'on',
  flood: 'on',
  proxy_arp: 'off',
  proxy_arp_wifi: 'off',
  mcast_router: '1',
  mcast_flood: 'on',
  bcast_flood: 'on',
  mcast_to_unicast: 'off',
  mcast_max_groups: '0',
  neigh_suppress: 'off',
  neigh_vlan_suppress: 'off',
  group_fwd_mask: '0x0',
  vlan_tunnel: 'off',
  isolated: 'off',
  locked: 'off',
  mab: 'off',
  queue_id: '0',
  prio: '0',
  actor_port_prio: '255',
};

/** Settings that need others before them: `mab` a locked port. */
const LAST = ['mab'];

function settingDrafts(port: Port, dev: string, stage: Stage, prefix: string): Draft[] {
  const rank = (name: string) => LAST.indexOf(name);
  return port.settings
    .filter(({ name, value }) => FRESH[name] !== value)
    .toSorted((a, b) => rank(a.name) - rank(b.name))
    .map(({ name, value }) =>
      draft(
        stage,
        'ip',
        ['link', 'set', 'dev', dev, 'type', `${port.kind}_slave`, name, value],
        [portKey(prefix, name)],
      ),
    );
}

function vlanDrafts(port: Port, dev: string, stage: Stage): Draft[] {
  const bridge = (argv: string[], key?: string) =>
    draft(stage, 'bridge', argv, key === undefined ? [] : [portKey('port', key)]);
  const covers = ({ vid }: PortVlan, vlan: number) => {
    const [from = 0, to = from] = vid.split('-').map(Number);
    return from <= vlan && vlan <= to;
  };
  const fresh = port.defaultVlan ?? 0;
  const unwanted = fresh !== 0 && !port.vlans.some((vlan) => covers(vlan, fresh));
  return [
    ...(unwanted ? [bridge(['vlan', 'del', 'dev', dev, 'vid', String(fresh)])] : []),
    ...port.vlans.flatMap((vlan) => {
      const { vid, pvid, untagged, options } = vlan;
      const flags = [...(pvid ? ['pvid'] : []), ...(untagged ? ['untagged'] : [])];
      return [
        bridge(['vlan', 'add', 'dev', dev, 'vid', vid, ...flags], `vlan.${vid}`),
        ...(options.length === 0
          ? []
          : [bridge(['vlan', 'set', 'dev', dev, 'vid', vid, ...options], `vlan.${vid}`)]),
      ];
    }),
    ...port.tunnels.map(({ vid, tunnel }) =>
      bridge(['vlan', 'add', 'dev', dev, 'vid', vid, 'tunnel_info', 'id', tunnel], `tunnel.${vid}`),
    ),
  ];
}

/** `fdb.02:00:00:00:00:77`, `fdb.02:00:00:00:00:77,vlan=10`, `fdb.….self`. */
export function forwardName({ mac, vlan, flags }: PortForward): string {
  return `fdb.${mac}${vlan === undefined ? '' : `,vlan=${vlan}`}${flags.includes('self') ? ',self' : ''}`;
}

/** Entries for all VLANs first: made later, they would be made for each VLAN again. */
function forwardDrafts(port: Port, dev: string, stage: Stage): Draft[] {
  return port.forwards
    .toSorted((a, b) => (a.vlan ?? 0) - (b.vlan ?? 0))
    .map((forward) => {
      const { mac, vlan, state, flags } = forward;
      const self = flags.includes('self');
      const argv = ['fdb', self ? 'append' : 'replace', mac, 'dev', dev, self ? 'self' : 'master', state];
      if (vlan !== undefined) argv.push('vlan', String(vlan));
      argv.push(...flags.filter((flag) => flag !== 'self'));
      return draft(stage, 'bridge', argv, [portKey('port', forwardName(forward))]);
    });
}

/** `mdb.239.1.1.1`, `mdb.239.1.1.1,src=10.0.0.1,vid=10`. */
export function groupName({ group, source, vid }: Port['groups'][number]): string {
  return `mdb.${group}${source === undefined ? '' : `,src=${source}`}${vid === undefined ? '' : `,vid=${vid}`}`;
}

function groupDrafts(port: Port, dev: string, stage: Stage): Draft[] {
  return port.groups.map((group) => {
    const argv = ['mdb', 'add', 'dev', port.master, 'port', dev, 'grp', group.group];
    if (group.source !== undefined) argv.push('src', group.source);
    argv.push('permanent');
    if (group.vid !== undefined) argv.push('vid', String(group.vid));
    return draft(stage, 'bridge', argv, [portKey('port', groupName(group))]);
  });
}

/**
 * What follows `ip link set DEV master MASTER`: before the interface is up, so that nothing passes a port that is not
 * yet locked, or in another VLAN.
 * @param prefix of the keys: `port`, or `bond.port` for a port of its own shadow interface
 */
export function portDrafts(port: Port | undefined, dev: string, stage: Stage, prefix = 'port'): Draft[] {
  if (port === undefined) return [];
  return [
    ...settingDrafts(port, dev, stage, prefix),
    ...vlanDrafts(port, dev, stage),
    ...forwardDrafts(port, dev, stage),
    ...groupDrafts(port, dev, stage),
  ];
}

/** Names and values of a port's attributes, without their prefix. */
export function portAttributes(port: Port): { name: string; value: string }[] {
  return [
    ...port.settings,
    ...port.vlans.map(({ vid, pvid, untagged, options }) => ({
      name: `vlan.${vid}`,
      value: [pvid ? 'pvid' : '', untagged ? 'untagged' : 'tagged', ...options].filter(Boolean).join(' '),
    })),
    ...port.tunnels.map(({ vid, tunnel }) => ({ name: `tunnel.${vid}`, value: tunnel })),
    ...port.forwards.map((forward) => ({
      name: forwardName(forward),
      value: [forward.state, ...forward.flags.toSorted()].join(' '),
    })),
    ...port.groups.map((group) => ({ name: groupName(group), value: 'permanent' })),
  ];
}
