/**
 * Kinds of interfaces that stand on another one: what becomes of each when that one goes, and how `ip -d -j` shows the
 * arguments that `ip link add … type KIND` takes. Pure.
 */
import type { Report } from '../capture-text.ts';

/**
 * `remake`: the kernel removes it with the interface below, so it is made again. `rebind`: it stays, bound to an index
 * that is nobody's any more, and is bound anew. `cannot`: nobody but who made it can make it again.
 */
export type Treatment =
  | {
      action: 'remake' /** Word before the interface below: `link` before the type, `dev` after it. */;
      by: 'link' | 'dev';
    }
  | { action: 'rebind' }
  | { action: 'cannot'; reason: string };

const REBOUND = new Set(
  'gre gretap erspan ipip sit vti ip6gre ip6gretap ip6erspan ip6tnl vti6 ipip6 ip6ip6'.split(' '),
);

const HIDDEN: Record<string, string> = {
  macsec: 'the kernel does not show its keys',
};

/** What a replay does with an interface of this kind. */
export function treatmentOf(kind: string): Treatment {
  if (kind === 'vxlan') return { action: 'remake', by: 'dev' };
  if (READERS[kind] !== undefined) return { action: 'remake', by: 'link' };
  if (REBOUND.has(kind)) return { action: 'rebind' };
  return {
    action: 'cannot',
    reason: HIDDEN[kind] ?? `it is not known how to make a ${kind} again`,
  };
}

type Reader = (value: unknown) => string[];

const word =
  (name: string): Reader =>
  (value) => [name, String(value)];
/** `true` is NAME, `false` is noNAME. */
const onOrNo =
  (name: string): Reader =>
  (value) => [value === true ? name : `no${name}`];
const flag =
  (...words: string[]): Reader =>
  (value) =>
    value === true ? words : [];
const nothing: Reader = () => [];

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

/** `[{"from":1,"to":2}]` is `1:2`. */
const qosMap =
  (name: string): Reader =>
  (value) => {
    const pairs = (Array.isArray(value) ? value : []).filter(isObject);
    return pairs.length === 0 ? [] : [name, ...pairs.map(({ from, to }) => `${from}:${to}`)];
  };

const VLAN_FLAGS = ['reorder_hdr', 'gvrp', 'loose_binding', 'mvrp', 'bridge_binding'];

const vlanFlags: Reader = (value) => {
  const on = new Set((Array.isArray(value) ? value : []).map((name) => String(name).toLowerCase()));
  // what this release of ip does not know it would not take either: only what is on, and the one that is on by itself
  return VLAN_FLAGS.flatMap((name) =>
    name === 'reorder_hdr' || on.has(name) ? [name, on.has(name) ? 'on' : 'off'] : [],
  );
};

const macvlan: Record<string, Reader> = {
  mode: word('mode'),
  nopromisc: flag('flag', 'nopromisc'),
  nodst: flag('flag', 'nodst'),
  bcqueuelen: word('bcqueuelen'),
  bc_cutoff: word('bclim'),
  usedbcqueuelen: nothing, // the largest one of all of the port
  macaddr_count: nothing,
  // eats all words that follow, so it is the last one
  macaddr_data: (value) => (Array.isArray(value) ? ['macaddr', 'set', ...value.map(String)] : []),
};

const ipvlan: Record<string, Reader> = {
  mode: word('mode'),
  bridge: flag('bridge'),
  private: flag('private'),
  vepa: flag('vepa'),
};

const vxlan: Record<string, Reader> = {
  id: word('id'),
  group: word('group'),
  group6: word('group'),
  remote: word('remote'),
  remote6: word('remote'),
  local: word('local'),
  local6: word('local'),
  link: nothing,
  port_range: (value) =>
    isObject(value) && !(value.low === 0 && value.high === 0)
      ? ['srcport', String(value.low), String(value.high)]
      : [],
  port: word('dstport'),
  learning: onOrNo('learning'),
  proxy: flag('proxy'),
  rsc: flag('rsc'),
  l2miss: flag('l2miss'),
  l3miss: flag('l3miss'),
  tos: word('tos'),
  ttl: (value) => (value === 0 ? [] : ['ttl', String(value)]),
  df: word('df'),
  label: word('flowlabel'),
  ageing: word('ageing'),
  limit: word('maxaddress'),
  udp_csum: onOrNo('udpcsum'),
  udp_zero_csum6_tx: onOrNo('udp6zerocsumtx'),
  udp_zero_csum6_rx: onOrNo('udp6zerocsumrx'),
  remcsum_tx: flag('remcsumtx'),
  remcsum_rx: flag('remcsumrx'),
  gbp: flag('gbp'),
  gpe: flag('gpe'),
  external: flag('external'),
  vnifilter: flag('vnifilter'),
  localbypass: onOrNo('localbypass'),
};

const READERS: Record<string, Record<string, Reader>> = {
  vlan: {
    protocol: (value) => ['protocol', String(value).toLowerCase()],
    id: word('id'),
    flags: vlanFlags,
    ingress_qos: qosMap('ingress-qos-map'),
    egress_qos: qosMap('egress-qos-map'),
  },
  macvlan,
  macvtap: macvlan,
  ipvlan,
  ipvtap: ipvlan,
  vxlan,
};

/** Arguments whose absence says something. */
const UNSAID: Record<string, Record<string, string[]>> = {
  // ip prints an inherited TTL as text only
  vxlan: { ttl: ['ttl', 'inherit'] },
  vlan: { flags: ['reorder_hdr', 'off'] },
};

/** What the objects among a kind's arguments hold. */
const WITHIN = new Set(['from', 'to', 'low', 'high']);

/** Reads what is peculiar to a kind; what it does not know it reports. Of kinds that are not remade: all, as text. */
export function readKind(
  name: string,
  kind: string,
  data: Readonly<Record<string, unknown>>,
  report: Report,
): string[] {
  const readers = READERS[kind];
  if (readers === undefined) {
    return Object.entries(data)
      .filter(([key]) => key !== 'link')
      .flatMap(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]);
  }
  const args: string[] = [];
  for (const [key, reader] of Object.entries(readers)) {
    if (key in data) args.push(...reader(data[key]));
    else args.push(...(UNSAID[kind]?.[key] ?? []));
  }
  for (const [key, value] of Object.entries(data)) {
    const inner = [value].flat().filter(isObject).flatMap(Object.keys);
    if (readers[key] === undefined || inner.some((each) => !WITHIN.has(each)))
      report(`upper ${name}`, `${key}=${JSON.stringify(value)}`);
  }
  return args;
}
