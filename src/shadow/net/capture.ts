/**
 * Capture: reads the state of a guest's network device with one script in one run, and parses what the script
 * prints into a shadow. The script is I/O at the guest's end; everything here is pure but for reading its text.
 */
import { readFileSync } from 'node:fs';
import { ShadowferryError } from '../../errors.ts';
import {
  isObject,
  jsonObjects,
  notACapture,
  type Report,
  reportUnknownKeys,
  type Section,
  splitSections,
} from './capture-text.ts';
import { dependentsOf } from './dependents/dependents.ts';
import type { DeviceIdentity, Multicast, Neighbour, NetShadow } from './model.ts';
import { driverStateOf } from './parse-ethtool.ts';
import { addressesOf, linkStateOf, readLink } from './parse-link.ts';
import { multicastOf, neighbourOf } from './parse-neighbour.ts';
import { portOf } from './parse-port.ts';
import { pinFinder, reportTcx } from './parse-programs.ts';
import { parseRoutes, parseRules } from './parse-route.ts';
import { parseSysctls, sysctlOf } from './parse-sysctl.ts';
import {
  factOf,
  hardwareOf,
  parseSysfs,
  reportSysfs,
  type StandbyHint,
  standbyOf,
  standInOf,
} from './parse-sysfs.ts';
import { TC_SECTIONS, trafficControlOf } from './parse-tc.ts';
import { isNexthop, nexthopsOf } from './uppers/nexthop.ts';
import { standingOn, uppersOf } from './uppers/parse-upper.ts';

let script: string | undefined;

/** The text of the capture script, a POSIX shell script for the guest. */
export function captureScript(): string {
  script ??= readFileSync(new URL('./capture.sh', import.meta.url), 'utf8');
  return script;
}

/**
 * Arguments for the capture script.
 * @param away name of the shadow interface, when the direct device is not there to lead to it.
 * @param known what need not be asked for, from `CaptureMemory`
 */
export function captureArgs(
  identity: DeviceIdentity,
  { away, known = '' }: { away?: { interface: string }; known?: string } = {},
): string[] {
  if (away) return [identity.mac, '-', away.interface];
  return [identity.mac, identity.pciPath, ...(known === '' ? [] : ['', known])];
}

const PARSED = new RegExp(
  `^(capture|sysfs|sysctl|sysctl-upper|fdb|sockets|firewall|bridge|programs|pins|tcx|ip-json|ip-4|ip-6|${TC_SECTIONS.join('|')}|ethtool-.+)$`,
);

/**
 * Parses what the capture script printed.
 * The addresses, routes and the like are those of the interface that carries them: the shadow interface (the
 * active-backup bond or failover master that the direct device belongs to) where there is one, else the device itself.
 * @throws ShadowferryError GUEST_LACKS when the device or a tool is not there, GUEST_COMMAND_FAILED when the text
 * is cut off or is no capture. What is merely unknown never throws: it lands in `unknown`.
 */
export function parseCapture(text: string, identity: DeviceIdentity, hint: StandbyHint = {}): NetShadow {
  const sections = new Map<string, Section>();
  const unknown: NetShadow['unknown'] = [];
  const seen = new Set<string>();
  const report: Report = (where, what) => {
    const key = `${where}\0${what}`;
    if (!seen.has(key)) unknown.push({ where, text: what });
    seen.add(key);
  };
  const namespaces: Section[] = [];
  for (const section of splitSections(text)) {
    if (section.name === 'namespace') {
      namespaces.push(section);
      continue;
    }
    const earlier = sections.get(section.name);
    if (earlier !== undefined && section.name === 'sysctl-upper') earlier.lines.push(...section.lines);
    else if (PARSED.test(section.name)) sections.set(section.name, section);
    else reportSection(section, report);
  }
  const { device, carrying, foundBy } = whoIsWho(sections.get('capture'), identity);
  const lower = device === carrying ? undefined : device;
  const sysfs = parseSysfs(sections.get('sysfs'), report);
  const standIn = standInOf(sysfs, carrying, device);
  const shadowInterface = standIn.kind === 'none' ? undefined : standIn.name;

  const ip = readIpJson(needed(sections, 'ip-json', 'iproute2'), carrying, report);
  const link = ip.links.get(carrying);
  if (!link) throw notACapture(`ip does not show interface "${carrying}"`);
  const deviceLink = device === undefined ? undefined : ip.links.get(device);
  if (foundBy === 'path' && deviceLink?.permaddr !== identity.mac) throw noDevice(identity);

  const [global, own] = ofWholeGuest(sections.get('sysctl')?.lines ?? []);
  const sysctls = parseSysctls(own, carrying, link.mtu, report);
  const genMode = sysctlOf(sysctls, 'ipv6/conf/{dev}/addr_gen_mode');
  const standing = standingOn(carrying, ip.links);
  const upperNames = new Set(standing.map(({ link: { ifname } }) => ifname));
  const nexthops = nexthopsOf(ip.nexthops, new Set([carrying, ...upperNames]), report);
  const interfaces = { carrying, lower, nexthops: new Set(nexthops.map(({ id }) => String(id))) };
  const qdiscSection = sections.get('qdisc');
  if (qdiscSection !== undefined && qdiscSection.code !== 0) {
    reportSection(qdiscSection, report);
    sections.delete('qdisc');
  }
  const findPin = pinFinder(sections.get('programs'), sections.get('pins'), report);
  reportTcx(sections.get('tcx'), report);
  const { qdiscs, classes, filters } = trafficControlOf(sections, { ...interfaces, findPin }, report);
  const uppers = uppersOf(
    standing,
    { tokens: ip.tokens, sections, nexthops: interfaces.nexthops, findPin },
    report,
  );
  const above = new Set(
    [...ip.links.values()].filter((each) => each.link === carrying).map(({ address }) => address),
  );
  const masterOf = (each: typeof link) => (each.master === undefined ? undefined : ip.links.get(each.master));
  const port =
    link.master === undefined || link.master === shadowInterface
      ? undefined
      : portOf(link, masterOf(link), sections.get('bridge'), above, report);
  const lowerPort =
    lower === undefined || deviceLink === undefined || standIn.kind !== 'bond'
      ? undefined
      : portOf(deviceLink, masterOf(deviceLink), undefined, above, report);
  const inet = sections.get('ip-4')?.lines ?? [];
  const inet6 = sections.get('ip-6')?.lines ?? [];
  const addresses = addressesOf(link, report);
  const carryingLink = linkStateOf(
    link,
    { token: ip.tokens.get(carrying), genMode, shadowInterface, findPin },
    report,
  );
  const dependents = dependentsOf(
    sections,
    { link: carryingLink, multicast: ip.multicast, addresses, uppers },
    namespaces,
    report,
  );
  const leaving = {
    ...interfaces,
    uppers: upperNames,
    addresses: new Set(addresses.map(({ local }) => local)),
  };
  const routes4 = parseRoutes(inet, 'inet', leaving, report);
  const routes6 = parseRoutes(inet6, 'inet6', leaving, report);
  reportSysfs(sysfs, carrying, device, upperNames, report);
  const standby = standbyOf(sysfs, standIn, device, hint);
  const noEthtool = sections.get('ethtool-k');
  if (noEthtool?.code === 127) reportSection(noEthtool, report);

  return {
    schema: 1,
    ...(device === undefined ? {} : { hardware: hardwareOf(sysfs, device, identity) }),
    standIn,
    ...(standby === undefined ? {} : { standby }),
    link: carryingLink,
    ...(lower === undefined || deviceLink === undefined
      ? {}
      : { lower: linkStateOf(deviceLink, { shadowInterface, findPin }, report) }),
    ...(port === undefined ? {} : { port }),
    ...(lowerPort === undefined ? {} : { lowerPort }),
    addresses,
    routes: [...routes4.routes, ...routes6.routes],
    rules: [
      ...parseRules(inet, 'inet', interfaces, routes4.tables, report),
      ...parseRules(inet6, 'inet6', interfaces, routes6.tables, report),
    ],
    neighbours: ip.neighbours,
    qdiscs,
    ...(classes.length === 0 ? {} : { classes }),
    ...(filters.length === 0 ? {} : { filters }),
    multicast: ip.multicast,
    ...(deviceLink === undefined
      ? {}
      : {
          driver: driverStateOf(
            sections,
            {
              mtu: { min: deviceLink.min_mtu, max: deviceLink.max_mtu },
              sysfs,
              name: deviceLink.ifname,
              flowEntries: global.get('rps_sock_flow_entries'),
              defaultKey: factOf(sysfs, deviceLink.ifname, 'rss-key'),
            },
            report,
          ),
        }),
    sysctls,
    ...(uppers.length === 0 ? {} : { uppers }),
    ...(nexthops.length === 0 ? {} : { nexthops }),
    ...(dependents === undefined ? {} : { dependents }),
    unknown,
  };
}

/** Parts the lines of sysctls of the whole guest, by their names, from those of the interface. */
function ofWholeGuest(lines: readonly string[]): [Map<string, string>, string[]] {
  const global = new Map<string, string>();
  const own = lines.filter((line) => {
    const [name, value] = /^\/proc\/sys\/net\/core\/(\w+):(.*)$/.exec(line)?.slice(1) ?? [];
    if (name !== undefined && value !== undefined) global.set(name, value);
    return name === undefined;
  });
  return [global, own];
}

function noDevice(identity: DeviceIdentity): ShadowferryError {
  return new ShadowferryError('GUEST_LACKS', {
    what: `a network device with MAC ${identity.mac} at ${identity.pciPath}`,
    how: 'See whether the device is plugged and its driver loaded: "ip -d link" and "lspci -k" in the guest.',
  });
}

/** Which interface is the device, and which one carries the addresses. */
function whoIsWho(
  section: Section | undefined,
  identity: DeviceIdentity,
): { device: string | undefined; carrying: string; foundBy: string } {
  const values = new Map(
    (section?.lines ?? []).map((line) => [line.split(' ', 1)[0], line.replace(/^\S* ?/, '')]),
  );
  if (values.get('version') !== '1') throw notACapture('it is not of version 1');
  const carrying = values.get('carrying') ?? '';
  if (carrying === '') throw noDevice(identity);
  return { device: values.get('device') || undefined, carrying, foundBy: values.get('found-by') ?? 'mac' };
}

function needed(sections: ReadonlyMap<string, Section>, name: string, what: string): Section {
  const section = sections.get(name);
  if (section && section.code !== 127) return section;
  throw new ShadowferryError('GUEST_LACKS', { what, how: `Install ${what} in the guest.` });
}

function reportSection(section: Section, report: Report): void {
  const lines = section.lines.filter((line) => line.trim() !== '' && line.trim() !== '[]');
  if (lines.length === 0) return;
  report(`section ${section.name}`, lines.join('\n'));
}

interface IpJson {
  links: Map<string, ReturnType<typeof readLink>>;
  tokens: Map<string, string>;
  neighbours: Neighbour[];
  multicast: Multicast[];
  nexthops: Record<string, unknown>[];
}

const TOKEN_KEYS = new Set(['token', 'ifname']);

/** The objects of all of ip's arrays tell by their keys what they are, so that an array that failed shifts nothing. */
function readIpJson(section: Section, carrying: string, report: Report): IpJson {
  const found: IpJson = { links: new Map(), tokens: new Map(), neighbours: [], multicast: [], nexthops: [] };
  for (const object of jsonObjects(section, report)) {
    if (Object.keys(object).length === 0) continue;
    if ('addr_info' in object) {
      const link = readLink(object);
      found.links.set(link.ifname, link);
    } else if ('maddr' in object) {
      if (object.ifname === carrying) found.multicast.push(...multicastOf(object, report));
    } else if (typeof object.token === 'string' && typeof object.ifname === 'string') {
      found.tokens.set(object.ifname, object.token);
      reportUnknownKeys(`token ${object.ifname}`, object, TOKEN_KEYS, report);
    } else if (isNexthop(object)) {
      found.nexthops.push(object);
    } else if ('dst' in object) {
      const neighbour = neighbourOf(object, carrying, report);
      if (neighbour) found.neighbours.push(neighbour);
    } else if (isObject(object)) report('ip-json', JSON.stringify(object));
  }
  return found;
}
