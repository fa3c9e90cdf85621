/**
 * `ip -d -4|-6 route show table all` and `… rule show`, as text: their JSON leaves out `lock` and gives an
 * encapsulation's `dst` the same key as the route's own. No name or value holds white space. Pure.
 */
import type { Report } from './capture-text.ts';
import type { Route, Rule } from './model.ts';
import { ENCAP_WORDS, FLAGS, joinWords, METRICS, nexthopsAt, routeWords } from './route-words.ts';

/** Interfaces that a route can leave by and be of interest. */
export interface Interfaces {
  /** The one that carries the addresses. */
  carrying: string;
  /** The direct device below it, when it is another one. */
  lower?: string | undefined;
  /** Ids of the nexthop objects that are known, hence made before the routes that use them. */
  nexthops?: ReadonlySet<string> | undefined;
  /** Addresses of the carrying one. A route elsewhere that has one as its source goes with it. */
  addresses?: ReadonlySet<string>;
  /** Interfaces above it, whose own routes are theirs. */
  uppers?: ReadonlySet<string>;
}

const TYPES = new Set(
  'unicast local broadcast multicast anycast blackhole unreachable prohibit throw nat xresolve'.split(' '),
);
/** Made and removed by the kernel with an address; never of interest. */
const OF_ADDRESSES = new Set(['local', 'broadcast', 'anycast', 'multicast']);
const WORDS = new Set(
  'tos dsfield from table proto scope src metric realm realms weight ttl-propagate'.split(' '),
);
/** State that the kernel or hardware adds. */
const STATE = new Set(
  'linkdown dead unresolved offload rt_offload trap rt_trap offload_failed rt_offload_failed notify'.split(
    ' ',
  ),
);
/** State with a value. */
const STATE_WORDS = new Set(['error', 'uid', 'users', 'age', 'used']);
/** `PRIORITY:<tab>RULE`, in the same section as the routes. */
const RULE = /^(\d+):\t(.*)$/;

class NotUnderstood extends Error {}

/** Words of one line, taken one by one. */
class Words {
  private readonly words: string[];
  private at = 0;

  constructor(text: string) {
    this.words = text.split(' ').filter((word) => word !== '');
  }

  take(): string {
    const word = this.words[this.at++];
    if (word === undefined) throw new NotUnderstood('it ends too early');
    return word;
  }

  peek(): string | undefined {
    return this.words[this.at];
  }
}

/** `encap …` in the form that `ip route add` takes, which differs from the printed one for segment lists. */
function encapsulation(words: Words): string[] {
  const kind = words.take();
  if (kind === 'mpls') {
    const args = ['encap', 'mpls', words.take()];
    if (words.peek() === 'ttl') args.push(words.take(), words.take());
    return args;
  }
  if (kind === 'seg6') {
    if (words.take() !== 'mode') throw new NotUnderstood('encap seg6');
    const args = ['encap', 'seg6', 'mode', words.take()];
    if (words.take() !== 'segs') throw new NotUnderstood('encap seg6');
    const count = Number(words.take());
    if (words.take() !== '[') throw new NotUnderstood('encap seg6');
    const segments: string[] = [];
    while (words.peek() !== ']') segments.push(words.take());
    words.take();
    if (segments.length !== count || words.peek() === 'hmac') throw new NotUnderstood('encap seg6');
    return [...args, 'segs', segments.join(',')];
  }
  const known = ENCAP_WORDS[kind];
  if (known === undefined) throw new NotUnderstood(`encap ${kind}`);
  const args = ['encap', kind];
  for (let next = words.peek(); next !== undefined && known.has(next); next = words.peek()) {
    args.push(words.take(), words.take());
  }
  return args;
}

interface Hop {
  dev?: string;
  args: string[];
  /** Values of the words that decide what sort of route it is. */
  values: Map<string, string>;
}

/** Everything after the destination, or after `nexthop`. */
function hop(words: Words, family: Route['family']): Hop {
  const found: Hop = { args: [], values: new Map() };
  while (words.peek() !== undefined) {
    const word = words.take();
    if (word === 'via') {
      const address = words.take();
      found.args.push('via', address);
      if (address === 'inet' || address === 'inet6') found.args.push(words.take());
    } else if (word === 'dev') {
      found.dev = words.take();
      found.args.push('dev', found.dev);
    } else if (word === 'encap') {
      found.args.push(...encapsulation(words));
    } else if (METRICS.has(word)) {
      const locked = words.peek() === 'lock';
      if (locked) words.take();
      // `rto_min` is always locked, and `ip route add` does not take the word for it.
      found.args.push(word, ...(locked && word !== 'rto_min' ? ['lock'] : []), words.take());
    } else if (word === 'pref' || word === 'expires' || word === 'nhid') {
      found.values.set(word, words.take());
    } else if (WORDS.has(word)) {
      const value = words.take();
      found.values.set(word, value);
      if (!isDefault(word, value, family)) found.args.push(word === 'realm' ? 'realms' : word, value);
    } else if (FLAGS.has(word)) {
      found.args.push(word);
    } else if (STATE_WORDS.has(word)) {
      words.take();
    } else if (!STATE.has(word)) throw new NotUnderstood(word);
  }
  const pref = found.values.get('pref');
  if (pref !== undefined && pref !== 'medium') found.args.push('pref', pref);
  const expires = /^(\d+)sec$/.exec(found.values.get('expires') ?? '')?.[1];
  if (expires !== undefined) found.args.push('expires', expires);
  return found;
}

/** The route without its way, which its nexthop object has: neither a gateway nor a device may stand beside that. */
const withoutHop = (args: readonly string[]): string[] =>
  joinWords(
    routeWords(args.slice(0, nexthopsAt(args))).filter(
      ({ word }) => !['via', 'dev', 'onlink'].includes(word),
    ),
  );

/** What `ip route add` assumes anyway; IPv6 routes have no scope of their own. */
const isDefault = (word: string, value: string, family: Route['family']): boolean =>
  (word === 'table' && value === 'main') ||
  (word === 'proto' && value === 'boot') ||
  (word === 'scope' && family === 'inet6');

interface Parsed {
  route: Route;
  /** It has run out, and is only shown until the kernel clears it away. */
  over: boolean;
  devices: string[];
  nexthopObject?: string;
}

function parseOne(line: string, nexthops: readonly string[], family: Route['family']): Parsed {
  const words = new Words(line);
  const type = TYPES.has(words.peek() ?? '') ? words.take() : 'unicast';
  const destination = words.take();
  const whole = hop(words, family);
  const hops = nexthops.map((text) => hop(new Words(text), family));
  const devices = [whole, ...hops].flatMap(({ dev }) => (dev === undefined ? [] : [dev]));
  const proto = whole.values.get('proto');
  const nexthopObject = whole.values.get('nhid');
  return {
    over: whole.values.get('expires')?.startsWith('-') ?? false,
    route: {
      family,
      table: whole.values.get('table') ?? 'main',
      type,
      destination,
      args: [...whole.args, ...hops.flatMap(({ args }) => ['nexthop', ...args])],
      automatic: proto === 'kernel' || proto === 'ra' || proto === 'redirect',
      multipath: hops.length > 0,
    },
    devices,
    ...(nexthopObject === undefined ? {} : { nexthopObject }),
  };
}

/**
 * Routes that leave by the interface, or have one of its addresses as their source, in all tables. Left out are the
 * kernel's own local, broadcast, anycast and multicast routes (they belong to addresses), and routes without a device
 * (blackhole and the like), which do not depend on the interface. `automatic` ones are made by the kernel (with an address, or from router
 * advertisements and redirects). A route through a nexthop object
 * that is not known is kept as a plain one, and that is reported.
 * @returns the routes, and the tables besides main, local and default that hold them.
 */
export function parseRoutes(
  lines: readonly string[],
  family: Route['family'],
  interfaces: Interfaces,
  report: Report,
): { routes: Route[]; tables: Set<string> } {
  const routes: Route[] = [];
  const tables = new Set<string>();
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (line === '' || RULE.test(line)) continue;
    const nexthops: string[] = [];
    for (let next = lines[at + 1]; next !== undefined && /^\s/.test(next); next = lines[++at + 1]) {
      const text = next.trim();
      if (text.startsWith('nexthop ')) nexthops.push(text.slice('nexthop '.length));
      else if (!text.startsWith('nh_info ') && text !== '') report('route', `${line} ${text}`);
    }
    try {
      const { route, over, devices, nexthopObject } = parseOne(line, nexthops, family);
      if (!devices.includes(interfaces.carrying) && !leansOn(route, devices, interfaces)) {
        if (interfaces.lower !== undefined && devices.includes(interfaces.lower)) report('route', line);
        continue;
      }
      if (over || (route.automatic && OF_ADDRESSES.has(route.type))) continue;
      if (nexthopObject !== undefined && interfaces.nexthops?.has(nexthopObject)) {
        route.args = ['nhid', nexthopObject, ...withoutHop(route.args)];
        route.multipath = false;
      } else if (nexthopObject !== undefined)
        report('nexthop', `${line}: object ${nexthopObject} becomes a plain next hop`);
      if (!['main', 'local', 'default'].includes(route.table)) tables.add(route.table);
      routes.push(route);
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      if (mentions([line, ...nexthops], interfaces)) report('route', [line, ...nexthops].join(' nexthop '));
    }
  }
  return { routes, tables };
}

/** The kernel removes a route with the address that is its source, whatever interface it leaves by. */
function leansOn({ args, automatic }: Route, devices: readonly string[], interfaces: Interfaces): boolean {
  const { addresses, uppers } = interfaces;
  const at = args.indexOf('src');
  if (devices.some((device) => uppers?.has(device))) return false;
  return !automatic && at >= 0 && addresses?.has(args[at + 1] ?? '') === true;
}

/** A line that was not understood is of interest when a word of it is one of the interfaces. */
function mentions(lines: readonly string[], { carrying, lower }: Interfaces): boolean {
  return lines.some((line) => line.split(/\s+/).some((word) => word === carrying || word === lower));
}

const RULE_WORDS = new Set(
  `from to tos dsfield fwmark iif oif uidrange ipproto sport dport tun_id lookup table suppress_prefixlength
  suppress_prefixlen suppress_ifgroup realms goto proto protocol`.split(/\s+/),
);
/** Makers that `ip rule add` would not name. */
const UNSAID = new Set(['kernel', 'boot', 'unspec']);
const RULE_FLAGS = new Set('not l3mdev nop blackhole prohibit unreachable'.split(' '));

/**
 * Rules that name the interface (iif, oif), or that look up a table of `tables`. `args` is what `ip rule add`
 * takes besides the priority.
 */
export function parseRules(
  lines: readonly string[],
  family: Rule['family'],
  { carrying }: Interfaces,
  tables: ReadonlySet<string>,
  report: Report,
): Rule[] {
  const rules: Rule[] = [];
  for (const line of lines) {
    const match = RULE.exec(line);
    if (!match) continue;
    const words = new Words(match[2] ?? '');
    const args: string[] = [];
    let concerns = false;
    try {
      while (words.peek() !== undefined) {
        const word = words.take();
        if (RULE_WORDS.has(word)) {
          const value = words.take();
          if (word === 'iif' || word === 'oif') concerns ||= value === carrying;
          if (word === 'lookup' || word === 'table') concerns ||= tables.has(value);
          if (value === '[l3mdev-table]') args.push('l3mdev');
          else if (!(word.startsWith('proto') && UNSAID.has(value))) args.push(word, value);
        } else if (RULE_FLAGS.has(word)) args.push(word);
        else if (word !== '[detached]' && word !== '[unresolved]') throw new NotUnderstood(word);
      }
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      if (mentions([line], { carrying })) report('rule', line);
      continue;
    }
    if (concerns) rules.push({ family, priority: Number(match[1]), args });
  }
  return rules;
}
