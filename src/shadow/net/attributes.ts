/** A shadow as a flat list of attributes: what is compared before and after, and reported one by one. Pure. */
import { createHash } from 'node:crypto';
import { dependentValue } from './dependents/value.ts';
import {
  addressKey,
  bondKey,
  channelKey,
  coalesceKey,
  dependentKey,
  featureKey,
  filterKey,
  linkKey,
  lowerKey,
  multicastKey,
  neighbourKey,
  nexthopKey,
  pauseKey,
  portKey,
  qdiscKey,
  ringKey,
  routeKey,
  ruleKey,
  sysctlKey,
  tcClassKey,
  tuningKey,
  upperKey,
} from './keys.ts';
import type { Address, Attribute, LinkState, NetShadow, Route, Upper } from './model.ts';
import { portAttributes } from './plan-port.ts';
import { filterValue } from './plan-tc.ts';
import { xdpValue } from './plan-xdp.ts';
import { routeWords } from './route-words.ts';
import { asShadow } from './uppers/layers.ts';
import { nexthopValue } from './uppers/nexthop-value.ts';

/** Neighbour states that are configuration; the others were learned and only prime a new device. */
const CONFIGURED = new Set(['permanent', 'noarp']);

/** Options that have a meaning for an active-backup bond; `primary` is left out, it follows from what is plugged. */
const BOND_OPTIONS = new Set(
  `mode miimon use_carrier updelay downdelay fail_over_mac all_slaves_active primary_reselect num_grat_arp num_unsol_na
  peer_notif_delay resend_igmp arp_interval arp_ip_target arp_validate arp_all_targets arp_missed_max ns_ip6_target`.split(
    /\s+/,
  ),
);

/**
 * The attributes of a shadow, sorted by key, each key once. Keys and values are free of the interface's name (but
 * for the arguments of rules and labels that the user chose), of time (lifetimes run) and of what was learned, so
 * that two captures of an unchanged device are equal. Link-level ones are of the interface that carries the
 * addresses, driver-level ones of the direct device, features only where the driver lets them be changed.
 * Values are printable; a secret is shown by its hash.
 */
export function attributesOf(shadow: NetShadow): Attribute[] {
  const found: Attribute[] = [];
  const add = (key: string, value: string | number | boolean | undefined) => {
    if (value !== undefined) found.push({ key: printable(key), value: printable(String(value)) });
  };
  addLink(shadow.link, add);
  if (shadow.lower) {
    for (const field of ['mtu', 'promisc', 'allmulti', 'txqueuelen', 'alias'] as const) {
      add(lowerKey(field), shadow.lower[field]);
    }
    add(lowerKey('xdp'), shadow.lower.xdp && xdpValue(shadow.lower.xdp));
  }
  if (shadow.standIn.kind === 'bond') {
    for (const [option, value] of Object.entries(shadow.standIn.options)) {
      if (BOND_OPTIONS.has(option)) add(bondKey(option), value);
    }
  }
  for (const [port, prefix] of [
    [shadow.port, 'port'],
    [shadow.lowerPort, 'bond.port'],
  ] as const) {
    for (const { name, value } of port === undefined ? [] : portAttributes(port))
      add(portKey(prefix, name), value);
  }
  for (const address of shadow.addresses) add(addressKey(address), addressValue(address, shadow.link.name));
  for (const route of shadow.routes) add(routeKey(route), routeValue(route, shadow.link.name));
  for (const rule of shadow.rules) add(ruleKey(rule), rule.args.join(' '));
  for (const neighbour of shadow.neighbours) {
    if (!neighbour.proxy && !CONFIGURED.has(neighbour.state) && !neighbour.externLearn) continue;
    const words = [neighbour.mac ?? '', neighbour.state, neighbour.router ? 'router' : ''];
    add(
      neighbourKey(neighbour),
      [...words, neighbour.externLearn ? 'extern_learn' : ''].filter(Boolean).join(' '),
    );
  }
  for (const qdisc of shadow.qdiscs)
    add(qdiscKey(qdisc), [...(qdisc.before ?? []), qdisc.kind, qdisc.handle, ...qdisc.args].join(' '));
  for (const one of shadow.classes ?? []) add(tcClassKey(one), [one.parent, one.kind, ...one.args].join(' '));
  for (const filter of shadow.filters ?? []) add(filterKey(filter), filterValue(filter));
  for (const multicast of shadow.multicast) if (multicast.static) add(multicastKey(multicast), 'static');
  for (const sysctl of shadow.sysctls) add(sysctlKey(sysctl), sysctlValue(sysctl.path, sysctl.value));
  for (const feature of shadow.driver?.features ?? []) {
    if (!feature.fixed) add(featureKey(feature.name), feature.on ? 'on' : 'off');
  }
  for (const { name, value } of shadow.driver?.rings ?? []) add(ringKey(name), value);
  for (const { name, value } of shadow.driver?.channels ?? []) add(channelKey(name), value);
  for (const { name, value } of shadow.driver?.coalesce ?? []) add(coalesceKey(name), value);
  for (const { name, value } of shadow.driver?.pause ?? []) add(pauseKey(name), value);
  for (const { name, value } of shadow.driver?.tuning ?? []) add(tuningKey(name), tuningValue(name, value));
  for (const nexthop of shadow.nexthops ?? [])
    add(nexthopKey(nexthop), nexthopValue(nexthop, shadow.link.name));
  for (const one of shadow.dependents ?? []) add(dependentKey(one), dependentValue(one));
  for (const upper of shadow.uppers ?? []) found.push(...upperAttributes(upper));
  return distinct(found);
}

/** That it is there, of which kind, on what; then those of its layers. Keys begin with `upper.NAME/`. */
export function upperAttributes(upper: Upper): Attribute[] {
  const { link, kind, over, args, forwarding } = upper;
  const own: Attribute[] = [{ key: 'kind', value: `${[kind, ...args].join(' ')} on ${over}` }];
  if (forwarding.length > 0) {
    own.push({
      key: 'forwarding',
      value: forwarding
        .map((words) => words.join(' '))
        .toSorted()
        .join('; '),
    });
  }
  return [...own, ...attributesOf(asShadow(upper))].map(({ key, value }) => ({
    key: printable(upperKey(link.name, key)),
    value: printable(value),
  }));
}

type Add = (key: string, value: string | number | boolean | undefined) => void;

function addLink(link: LinkState, add: Add): void {
  const { altnames, master, xdp, ...fields } = link;
  for (const field of Object.keys(fields) as (keyof typeof fields)[]) add(linkKey(field), fields[field]);
  add(linkKey('altnames'), altnames?.toSorted().join(' '));
  add(linkKey('xdp'), xdp && xdpValue(xdp));
  add(linkKey('master'), master && `${master.kind} ${master.name}`);
}

/** An address as an attribute's value. */
export function addressValue(address: Address, name: string): string {
  const words = [`scope ${address.scope}`];
  if (address.broadcast !== undefined) words.push(`broadcast ${address.broadcast}`);
  if (address.label !== undefined && address.label !== name) words.push(`label ${address.label}`);
  if (address.metric !== undefined && address.metric !== 0) words.push(`metric ${address.metric}`);
  if (address.state.includes('temporary')) words.push('temporary');
  if (address.state.includes('dynamic')) words.push('dynamic');
  // For ever valid and not preferred: somebody wants it so, it has not merely run out.
  else if (address.preferredSeconds === 0) words.push('deprecated');
  // how the address was once added: it says nothing about an address that is in use
  return [...words, ...address.flags.filter((flag) => flag !== 'nodad').toSorted()].join(' ');
}

export function routeValue(route: Route, name: string): string {
  const words: string[] = route.automatic ? ['automatic'] : [];
  for (const { word, values } of routeWords(route.args)) {
    if (word === 'expires') continue; // it runs
    words.push(word, ...(word === 'dev' && values[0] === name ? ['{dev}'] : values));
  }
  return words.join(' ');
}

const hidden = (secret: string): string =>
  `sha256:${createHash('sha256').update(secret).digest('hex').slice(0, 16)}`;

/** The secret that IPv6 addresses are made from shall not appear in reports. */
const sysctlValue = (path: string, value: string): string =>
  path.endsWith('/stable_secret') ? hidden(value) : value;

/** Who knows the key that flows are spread by can send them all to one queue. */
const tuningValue = (name: string, value: string): string =>
  name === 'rss.key' && value !== 'default' ? hidden(value) : value;

/** Escapes what a terminal or a log would act on. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

/** Sorts, and gives the second and later bearers of a key a number: IPv6 takes the same route twice. */
function distinct(attributes: Attribute[]): Attribute[] {
  const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  const sorted = attributes.toSorted((a, b) => order(a.key, b.key) || order(a.value, b.value));
  const seen = new Map<string, number>();
  const found: Attribute[] = [];
  for (const { key, value } of sorted) {
    const count = (seen.get(key) ?? 0) + 1;
    seen.set(key, count);
    found.push({ key: count === 1 ? key : `${key}#${count}`, value });
  }
  return found.toSorted((a, b) => order(a.key, b.key));
}
