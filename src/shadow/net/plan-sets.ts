/** The four sets of a replay plan, put together from their parts. */

import { firewallDrafts } from './dependents/fate.ts';
import { bondKey, linkKey, lowerKey } from './keys.ts';
import type { DeviceAbilities, NetShadow } from './model.ts';
import { type Draft, draft, type Findings, write } from './plan-draft.ts';
import { driverDrafts, fittingMtu } from './plan-driver.ts';
import { addressDrafts, announceDrafts, carrierDrafts, onwardDrafts } from './plan-layer3.ts';
import type { Stage } from './plan-model.ts';
import { portDrafts } from './plan-port.ts';
import {
  altnameDrafts,
  ipv6LinkDrafts,
  linkDrafts,
  multicastDrafts,
  notedSysctlDrafts,
  sysctlDrafts,
} from './plan-settings.ts';
import { clearTcDrafts, tcDrafts } from './plan-tc.ts';
import { clearXdpDrafts, xdpDrafts } from './plan-xdp.ts';
import { nexthopDrafts } from './uppers/nexthop.ts';
import { upperDrafts } from './uppers/plan-upper.ts';

/** What the sets of one plan have in common. */
export interface PlanContext {
  shadow: NetShadow;
  /** `none`: the device itself carries the addresses. */
  standIn: 'none' | 'bond' | 'failover';
  /** The bond does not exist yet. */
  adopting: boolean;
  /** The standby carries traffic while the device is away. */
  standby: NetShadow['standby'];
  enslaveNow: boolean;
  /** The MAC by which the device that arrives is known. */
  arriving: string;
  abilities: DeviceAbilities | undefined;
  /** Keys of what nobody chose. */
  untouched: ReadonlySet<string>;
  /** Where the new device will be in the guest. */
  pciPath: string;
  names: {
    /** Carries the addresses, before and after. */
    interface: string;
    /** The direct device. */
    direct: string;
    /** The bond, while the interface still has its name or has it again. */
    temporary: string;
  };
}

/** Whether the device that arrives has this MAC by itself; `arriving` may be one of several, separated by blanks. */
const comesWith = (arriving: string, mac: string): boolean =>
  arriving.split(' ').every((each) => each === mac);

const setLink = (stage: Stage, dev: string, ...words: string[]): Draft =>
  draft(stage, 'ip', ['link', 'set', 'dev', dev, ...words]);

/**
 * Options of the bond that we make. Link state is looked at every 100 ms, as each look wakes an idle guest;
 * while a device moves the program has it looked at every 20 ms. `all_slaves_active` accepts frames still on their way to the port that was just left.
 * `fail_over_mac none`, possible when all MACs are equal, keeps the neighbour table over a change of ports; the
 * kernel empties it otherwise. Three announcements, 100 ms apart, in case a switch misses one.
 */
export function bondOptions(macsEqual: boolean): [string, string][] {
  return [
    ['mode', 'active-backup'],
    ['miimon', '100'],
    ['fail_over_mac', macsEqual ? 'none' : 'active'],
    ['all_slaves_active', '1'],
    ['num_grat_arp', '3'],
    ['peer_notify_delay', '100'],
    ['primary_reselect', 'always'],
  ];
}

/** A bare interface becomes a shadow interface; the gap is what lies between `down` and the last route. */
export function adoptSet(context: PlanContext, found: Findings): Draft[] {
  if (!context.adopting) return [];
  const { shadow, standby, names } = context;
  const { link } = shadow;
  const { temporary } = names;
  const macsEqual = standby === undefined || standby.mac === link.mac;
  const options = bondOptions(macsEqual);
  const prepare: Draft[] = [
    draft(
      'prepare',
      'ip',
      // one call, so that the options are checked together and the bond never exists without them
      [
        ...['link', 'add', 'name', temporary, 'address', link.mac, 'mtu', String(link.mtu)],
        ...['type', 'bond', ...options.flat()],
      ],
      [linkKey('mac'), linkKey('mtu'), ...options.map(([name]) => bondKey(name))],
    ),
    ...linkDrafts(link, temporary, { stage: 'prepare', later: names.interface }),
    ...portDrafts(shadow.port, temporary, 'prepare'),
    ...xdpDrafts(link, temporary, { stage: 'prepare', key: linkKey('xdp'), generic: true }, found),
    ...ipv6LinkDrafts(shadow, temporary).filter((d) => d.stage === 'prepare'),
    ...(standby === undefined
      ? []
      : [setLink('prepare', standby.name, 'down'), setLink('prepare', standby.name, 'master', temporary)]),
    // by name, before the device has it: whenever it comes back with a link, traffic moves to it
    write('prepare', `/sys/class/net/${temporary}/bonding/primary`, names.direct, [bondKey('primary')]),
    ...sysctlDrafts(shadow, temporary),
  ];
  const swap = [
    setLink('raise', names.interface, 'down'),
    setLink('raise', names.interface, 'name', names.direct),
    setLink('raise', temporary, 'name', names.interface),
    ...(link.master === undefined ? [] : [setLink('raise', names.direct, 'nomaster')]),
    ...(link.up ? [setLink('raise', names.interface, 'up')] : []),
  ];
  // Addresses leave the old interface after the new one has them: the kernel would drop routes that name them.
  const flush = (stage: Stage) => draft(stage, 'ip', ['address', 'flush', 'dev', names.direct]);
  const back = context.enslaveNow
    ? [flush('traffic'), setLink('traffic', names.direct, 'master', names.interface)]
    : [];
  return [
    ...prepare,
    ...swap,
    ...addressDrafts(shadow, found),
    ...back,
    ...onwardDrafts(shadow, found),
    ...upperDrafts(context, true, found),
    ...firewallDrafts(shadow, 'traffic', true),
    ...(context.enslaveNow ? [] : [flush('rest')]),
    ...altnameDrafts(shadow, names.direct),
    ...clearXdpDrafts(link, names.direct),
    ...clearTcDrafts(shadow, names.direct),
    ...tcDrafts(shadow, temporary, found),
    ...multicastDrafts(shadow),
    ...ipv6LinkDrafts(shadow, temporary).filter((d) => d.stage === 'rest'),
    // with a standby there may be a link by now; where it comes later, `attach` makes them
    ...(standby === undefined ? [] : nexthopDrafts(shadow, 'rest')),
  ];
}

/** Traffic leaves the direct device, which may then be unplugged. Part of `adopt` where that is used. */
export function leaveSet(context: PlanContext): Draft[] {
  const { shadow, standIn, standby, names } = context;
  // The kernel's failover takes nothing from its standby as long as it has a primary, even one that is down: there
  // the device is simply unplugged.
  if (standIn !== 'bond' || context.adopting || shadow.hardware === undefined) return [];
  const bonding = `/sys/class/net/${names.interface}/bonding`;
  const members = shadow.standIn.kind === 'bond' ? shadow.standIn.members : [];
  const drafts: Draft[] = [];
  if (standby !== undefined) {
    if (!members.includes(standby.name)) {
      drafts.push(
        setLink('prepare', standby.name, 'down'),
        setLink('prepare', standby.name, 'master', names.interface),
      );
    }
    // first the traffic, then the port: frames that still arrive on the old port are taken
    drafts.push(write('raise', `${bonding}/active_slave`, standby.name));
  }
  drafts.push(write('raise', `${bonding}/slaves`, `-${names.direct}`));
  return drafts;
}

/** Settings of the device itself when it lies below a shadow interface. */
function lowerDrafts(context: PlanContext, found: Findings): Draft[] {
  const { shadow, names } = context;
  if (shadow.lower === undefined) return [];
  return [
    ...linkDrafts(shadow.lower, names.direct, { stage: 'prepare', key: lowerKey }),
    ...xdpDrafts(
      shadow.lower,
      names.direct,
      { stage: 'prepare', key: lowerKey('xdp'), generic: false },
      found,
    ),
  ];
}

/** What Ethernet devices take without being told. */
const PLAIN_MTU = 1500;

/**
 * A new device arrives, with its final name, down. All that costs a process of its own comes first and what `ip`
 * does last, so that it is one process from here to the last route.
 */
export function attachSet(context: PlanContext, found: Findings): Draft[] {
  const { shadow, standIn, names, abilities } = context;
  const { link } = shadow;
  const driver = shadow.driver === undefined ? [] : driverDrafts(shadow.driver, names.direct, context, found);
  const mtu = fittingMtu(link.mtu, linkKey('mtu'), abilities, found);
  // every device takes 1500; of more the guest must see whether this one does, unless that is known
  const limitKnown = link.mtu <= PLAIN_MTU || abilities?.maxMtu !== undefined;
  const fitMtu = [
    draft(
      'prepare',
      'tune',
      ['mtu', names.direct, names.interface, String(mtu), ...(limitKnown ? ['fits'] : [])],
      [linkKey('mtu')],
    ),
  ];
  if (standIn === 'none') {
    const ownMac = comesWith(context.arriving, link.mac) ? {} : { mac: link.mac };
    return [
      ...sysctlDrafts(shadow, names.interface),
      ...driver,
      ...ipv6LinkDrafts(shadow, names.interface),
      ...(limitKnown ? [] : fitMtu),
      ...linkDrafts(link, names.interface, { stage: 'prepare', ...(limitKnown ? { mtu } : {}), ...ownMac }),
      ...portDrafts(shadow.port, names.interface, 'prepare'),
      ...xdpDrafts(link, names.interface, { stage: 'prepare', key: linkKey('xdp'), generic: false }, found),
      ...(link.up ? [setLink('raise', names.interface, 'up')] : []),
      ...addressDrafts(shadow, found),
      ...onwardDrafts(shadow, found),
      ...upperDrafts(context, false, found),
      ...firewallDrafts(shadow, 'traffic', false),
      ...altnameDrafts(shadow),
      ...tcDrafts(shadow, names.interface, found),
      ...multicastDrafts(shadow),
      ...nexthopDrafts(shadow, 'linked'),
      ...notedSysctlDrafts(shadow),
    ];
  }
  // The bond hands its MTU down when it takes a member, and takes none that cannot have it. It may have less now than
  // is wanted, from a device that could not have more.
  const bothMtus = mtu === link.mtu && mtu <= PLAIN_MTU ? [] : fitMtu;
  if (standIn === 'failover') {
    // The kernel has raised the device already, but told no switch.
    return [
      ...announceDrafts(shadow, 'prepare'),
      ...driver,
      ...lowerDrafts(context, found),
      ...bothMtus,
      setLink('raise', names.direct, 'up'),
      ...announceDrafts(shadow, 'traffic'),
    ];
  }
  return [
    ...driver,
    ...lowerDrafts(context, found),
    ...bothMtus,
    setLink('raise', names.direct, 'master', names.interface),
    ...portDrafts(shadow.lowerPort, names.direct, 'raise', 'bond.port'),
    // a bond without members forgets the MAC that it was given, and takes that of its first one
    ...(context.standby === undefined && !comesWith(context.arriving, link.mac)
      ? [setLink('raise', names.interface, 'address', link.mac)]
      : []),
    // with a standby the carrier was never lost, and with it nothing else
    ...(context.standby === undefined ? carrierDrafts(shadow) : []),
    // where the link never went they are there, and are replaced by themselves; a giveback needs them too
    ...nexthopDrafts(shadow, 'linked'),
    ...notedSysctlDrafts(shadow),
  ];
}

/** The shadow interface is dissolved: the direct device takes its name, and all that it carried. */
export function givebackSet(context: PlanContext): Draft[] {
  const { shadow, standIn, standby, names } = context;
  if (standIn !== 'bond') return [];
  const { link } = shadow;
  const repeated: Findings = { losses: [], adaptations: [], warnings: [] }; // known from the other sets
  const ownMac = shadow.hardware === undefined || shadow.hardware.mac === link.mac ? {} : { mac: link.mac };
  return [
    ...sysctlDrafts(shadow, names.direct),
    ...ipv6LinkDrafts(shadow, names.direct),
    setLink('raise', names.direct, 'nomaster'),
    ...(standby === undefined
      ? []
      : [setLink('raise', standby.name, 'nomaster'), setLink('raise', standby.name, 'down')]),
    setLink('raise', names.interface, 'down'),
    setLink('raise', names.interface, 'name', names.temporary),
    setLink('raise', names.direct, 'name', names.interface),
    ...linkDrafts(link, names.interface, { stage: 'raise', mtu: link.mtu, ...ownMac }),
    ...portDrafts(shadow.port, names.interface, 'raise'),
    ...xdpDrafts(link, names.interface, { stage: 'raise', key: linkKey('xdp'), generic: false }, repeated),
    ...(link.up ? [setLink('raise', names.interface, 'up')] : []),
    ...addressDrafts(shadow, repeated),
    ...onwardDrafts(shadow, repeated),
    ...upperDrafts(context, true, repeated),
    ...firewallDrafts(shadow, 'traffic', true),
    draft('rest', 'ip', ['link', 'delete', 'dev', names.temporary]),
    ...altnameDrafts(shadow),
    ...tcDrafts(shadow, names.direct, repeated),
    ...multicastDrafts(shadow),
  ];
}
