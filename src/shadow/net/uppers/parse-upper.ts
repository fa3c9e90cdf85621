/** The interfaces that stand on the device, each with its own layers, from the same sections as the device. Pure. */
import { isObject, jsonObjects, type Report, reportUnknownKeys, type Section } from '../capture-text.ts';
import type { Neighbour, Qdisc, Sysctl, Upper } from '../model.ts';
import { addressesOf, type LinkJson, linkStateOf } from '../parse-link.ts';
import { multicastOf, neighbourOf } from '../parse-neighbour.ts';
import { qdiscOf } from '../parse-qdisc.ts';
import { parseRoutes } from '../parse-route.ts';
import { parseSysctls, sysctlOf } from '../parse-sysctl.ts';
import type { FindPin } from '../parse-tc-filter.ts';
import { roundingOf } from '../tc-burst.ts';
import { readKind } from './kinds.ts';

/** An interface and the one that it stands on. */
export interface Standing {
  link: LinkJson;
  over: string;
}

/** Where the layers of all interfaces are found. */
export interface UpperSources {
  tokens: ReadonlyMap<string, string>;
  findPin: FindPin;
  sections: ReadonlyMap<string, Section>;
  nexthops: ReadonlySet<string>;
}

/** What an interface stands on, as `ip` shows it: at the top, or among what is peculiar to its kind (vxlan). */
function belowOf(link: LinkJson): string | undefined {
  if ('link_netnsid' in link || 'link_netns' in link) return undefined; // a name in another namespace
  const data = dataOf(link);
  const below = link.link ?? data.link;
  return typeof below === 'string' ? below : undefined;
}

const dataOf = (link: LinkJson): Record<string, unknown> =>
  isObject(link.linkinfo?.info_data) ? link.linkinfo.info_data : {};

/** Links that stand on `carrying`, at whatever height, each after the one that it stands on. */
export function standingOn(carrying: string, links: ReadonlyMap<string, LinkJson>): Standing[] {
  const found: Standing[] = [];
  const seen = new Set([carrying]);
  for (const over of seen) {
    for (const link of links.values()) {
      // a veth's `link` is its peer, which stands on nothing
      if (link.linkinfo?.info_kind === undefined || link.linkinfo.info_kind === 'veth') continue;
      if (seen.has(link.ifname) || belowOf(link) !== over) continue;
      seen.add(link.ifname); // a set that grows is walked to its new end
      found.push({ link, over });
    }
  }
  return found;
}

/** Lines of `ip route show` that name the interface, each with the lines that continue it. */
function routeLines(lines: readonly string[], name: string): string[] {
  const found: string[] = [];
  const wanted = ` dev ${name} `;
  for (let at = 0; at < lines.length; ) {
    let end = at + 1;
    while (/^\s/.test(lines[end] ?? '')) end += 1;
    const group = lines.slice(at, end);
    if (group.some((line) => `${line} `.includes(wanted))) found.push(...group);
    at = end;
  }
  return found;
}

function sysctlsOf(lines: readonly string[], link: LinkJson, report: Report): Sysctl[] {
  const own = ['ipv4/conf', 'ipv4/neigh', 'ipv6/conf', 'ipv6/neigh'].map(
    (part) => `/proc/sys/net/${part}/${link.ifname}/`,
  );
  const mine = lines.filter((line) => own.some((start) => line.startsWith(start)));
  return parseSysctls(mine, link.ifname, link.mtu, report);
}

const FORWARDING_KEYS = new Set(
  'mac ifname dst state flags used updated vni src_vni port viaIf viaIfIndex linkNetNsId nhid'.split(' '),
);

/** Entries of a VXLAN's forwarding table that somebody configured; the first one follows from its `group` or `remote`. */
function forwardingOf(
  section: Section | undefined,
  name: string,
  args: readonly string[],
  report: Report,
): string[][] {
  const found: string[][] = [];
  const own = ['group', 'remote'].flatMap((key) => {
    const at = args.indexOf(key);
    return at < 0 ? [] : [args[at + 1]];
  });
  for (const entry of section === undefined ? [] : jsonObjects(section, report)) {
    if (entry.ifname !== name || typeof entry.dst !== 'string' || typeof entry.mac !== 'string') continue;
    if (entry.state !== 'permanent' && entry.state !== 'static') continue; // learned, and learned again
    reportUnknownKeys(`forwarding ${name} ${entry.mac}`, entry, FORWARDING_KEYS, report);
    if (entry.mac === '00:00:00:00:00:00' && own.includes(entry.dst)) continue;
    const words = [entry.mac, 'dev', name, 'dst', entry.dst];
    for (const [key, word] of [
      ['vni', 'vni'],
      ['src_vni', 'src_vni'],
      ['port', 'port'],
      ['viaIf', 'via'],
      ['nhid', 'nhid'],
    ] as const) {
      if (entry[key] !== undefined) words.push(word, String(entry[key]));
    }
    found.push([...words, 'self', entry.state]);
  }
  return found;
}

/** Qdiscs that may have classes, or filters: the capture looks for those of the device alone. */
const MAY_HAVE_MORE = /^(htb|hfsc|drr|qfq|prio|ets|cbq|dsmark|atm|clsact|ingress|multiq|mqprio)$/;

/** Interfaces that stand on the device, with all their layers. */
export function uppersOf(standing: readonly Standing[], sources: UpperSources, report: Report): Upper[] {
  if (standing.length === 0) return [];
  const { sections } = sources;
  const lines = (name: string) => sections.get(name)?.lines ?? [];
  const ipJson = sections.get('ip-json');
  const objects = ipJson === undefined ? [] : jsonObjects(ipJson, report);
  const qdiscSection = sections.get('qdisc');
  const tcObjects = qdiscSection?.code === 0 ? jsonObjects(qdiscSection, report) : [];
  const rounding = roundingOf(lines('tc-version')[0] ?? '');
  return standing.map(({ link, over }): Upper => {
    const name = link.ifname;
    const kind = link.linkinfo?.info_kind ?? '';
    const args = readKind(name, kind, dataOf(link), report);
    const sysctls = sysctlsOf(lines('sysctl-upper'), link, report);
    const genMode = sysctlOf(sysctls, 'ipv6/conf/{dev}/addr_gen_mode');
    const interfaces = { carrying: name, nexthops: sources.nexthops };
    const neighbours: Neighbour[] = [];
    const qdiscs: Qdisc[] = [];
    const multicast: Upper['multicast'] = [];
    for (const object of objects) {
      if ('maddr' in object) {
        if (object.ifname === name) multicast.push(...multicastOf(object, report));
      } else if ('dst' in object && object.dev === name) {
        const neighbour = neighbourOf(object, name, report);
        if (neighbour) neighbours.push(neighbour);
      }
    }
    for (const object of tcObjects) {
      const qdisc = object.dev === name ? qdiscOf(object, name, undefined, report, rounding) : undefined;
      if (qdisc) qdiscs.push(qdisc);
      if (qdisc && MAY_HAVE_MORE.test(qdisc.kind))
        report(`qdisc ${name}`, `classes and filters of ${qdisc.kind} ${qdisc.handle} are not looked at`);
    }
    return {
      kind,
      over,
      args,
      link: linkStateOf(link, { token: sources.tokens.get(name), genMode, findPin: sources.findPin }, report),
      addresses: addressesOf(link, report),
      routes: [
        ...parseRoutes(routeLines(lines('ip-4'), name), 'inet', interfaces, report).routes,
        ...parseRoutes(routeLines(lines('ip-6'), name), 'inet6', interfaces, report).routes,
      ],
      neighbours,
      qdiscs,
      multicast,
      sysctls,
      forwarding: forwardingOf(sections.get('fdb'), name, args, report),
    };
  });
}
