/** Addresses, routes, rules and neighbours of an interface, as operations that may be repeated without harm. */
import { addressValue, routeValue } from './attributes.ts';
import { addressKey, neighbourKey, routeKey, ruleKey } from './keys.ts';
import { STANDS_IN, standInFor } from './learned-routes.ts';
import type { Address, Neighbour, NetShadow, Route } from './model.ts';
import { type Draft, draft, type Findings } from './plan-draft.ts';
import type { Stage } from './plan-model.ts';
import { nexthopsAt, ownValue, routeWords } from './route-words.ts';

/** Neighbours that are asked at once whether they are still there when no gateway is known. */
const ANNOUNCE_TO = 8;

/** Arguments of `ip address replace`. */
export function addressArguments(address: Address, dev: string): string[] {
  const argv = ['address', 'replace'];
  if (address.peer === undefined) argv.push(`${address.local}/${address.prefix}`);
  else argv.push(address.local, 'peer', `${address.peer}/${address.prefix}`);
  argv.push('dev', dev);
  if (address.family === 'inet') {
    if (address.broadcast !== undefined) argv.push('broadcast', address.broadcast);
    argv.push('scope', address.scope);
    if (address.label !== undefined && address.label !== dev) argv.push('label', address.label);
  }
  if (address.metric !== undefined) argv.push('metric', String(address.metric));
  if (address.protocol !== undefined && !address.protocol.startsWith('kernel')) {
    argv.push('proto', address.protocol);
  }
  const { validSeconds, preferredSeconds } = address;
  if (validSeconds !== undefined) argv.push('valid_lft', String(validSeconds));
  // the kernel refuses an address that is preferred for longer than it is valid
  const preferred = preferredSeconds ?? (address.state.includes('deprecated') ? 0 : validSeconds);
  if (preferred !== undefined) argv.push('preferred_lft', String(preferred));
  const flags = new Set(address.flags);
  // the address was in use a moment ago by this very VM: asking the link for duplicates costs a second
  if (address.family === 'inet6') flags.add('nodad');
  return [...argv, ...flags];
}

/** Addresses in their order, which decides which of them are primary. */
export function addressDrafts(shadow: NetShadow, findings: Findings): Draft[] {
  const drafts: Draft[] = [];
  for (const address of shadow.addresses) {
    const key = addressKey(address);
    const value = `${address.local}/${address.prefix}`;
    if (address.state.includes('dadfailed')) {
      findings.losses.push({
        key,
        value,
        why: 'another machine uses this address; the guest had given it up',
      });
      continue;
    }
    if (address.state.includes('temporary')) {
      findings.adaptations.push({
        key,
        value: addressValue(address, shadow.link.name),
        now: addressValue(
          { ...address, state: address.state.filter((word) => word !== 'temporary') },
          shadow.link.name,
        ),
        how: 'comes back as an ordinary address with the time that it had left: only the kernel makes temporary ones',
      });
    }
    drafts.push(draft('traffic', 'ip', addressArguments(address, shadow.link.name), [key]));
  }
  return drafts;
}

/** Arguments of a route that decide which earlier route `ip route replace` overwrites. */
function slot(route: Route): string {
  const named = (name: string) => ownValue(route.args, name) ?? '';
  return [route.family, route.table, route.destination, named('tos'), named('metric')].join(' ');
}

/** Arguments of one route; `default` is spelled so that its family shows, as one batch holds both families. */
export function routeArguments(route: Route, verb: 'replace' | 'append', dev: string): string[] {
  const destination =
    route.destination === 'default' ? (route.family === 'inet' ? '0.0.0.0/0' : '::/0') : route.destination;
  const argv = ['route', verb];
  if (route.type !== 'unicast') argv.push(route.type);
  argv.push(destination);
  // `ip` wants the next hops last
  const hops = nexthopsAt(route.args);
  const has = (name: string) => ownValue(route.args, name) !== undefined;
  for (let at = 0; at < hops; at += 1) argv.push(route.args[at] ?? '');
  if (hops === route.args.length && !has('dev') && !has('nhid')) argv.push('dev', dev);
  if (route.table !== 'main' && !has('table')) argv.push('table', route.table);
  for (let at = hops; at < route.args.length; at += 1) argv.push(route.args[at] ?? '');
  return argv;
}

/**
 * Looks like the kernel's own route to an address's network, but where the address says `noprefixroute` the kernel makes
 * none: NetworkManager does so, and adds the route itself, with its metric.
 */
const isOfNoAddress = ({ family, type, args }: Route, { addresses }: NetShadow): boolean =>
  type === 'unicast' &&
  ownValue(args, 'proto') === 'kernel' &&
  addresses.some((each) => each.family === family && each.flags.includes('noprefixroute'));

/** A route to be added, and the attribute that it restores. */
interface Wanted {
  route: Route;
  key: string;
}

function wantedRoutes(shadow: NetShadow, findings: Findings): Wanted[] {
  return shadow.routes.flatMap((route): Wanted[] => {
    if (ownValue(route.args, 'nhid') !== undefined) return []; // after its nexthop object, see nexthopDrafts
    const key = routeKey(route);
    if (!route.automatic || isOfNoAddress(route, shadow)) return [{ route, key }];
    const learned = standInFor(route, shadow);
    if (learned === undefined) return [];
    const { name } = shadow.link;
    const [value, now] = [routeValue(route, name), routeValue(learned.route, name)];
    if (now !== value) findings.adaptations.push({ key, value, now, how: STANDS_IN });
    return [learned];
  });
}

/** A gateway must be reachable on the link when its route is added: routes without a gateway go first. */
function routeDrafts(shadow: NetShadow, findings: Findings): Draft[] {
  const viaGateway = ({ args }: Route) =>
    routeWords(args).some(({ word }) => word === 'via' || word === 'nexthop');
  const [direct, through]: [Wanted[], Wanted[]] = [[], []];
  for (const wanted of wantedRoutes(shadow, findings))
    (viaGateway(wanted.route) ? through : direct).push(wanted);
  const taken = new Set<string>();
  return [...direct, ...through].map(({ route, key }) => {
    const place = slot(route);
    // `replace` would overwrite the first of two routes that share a slot; an equal one added twice is refused
    const verb = taken.has(place) ? 'append' : 'replace';
    taken.add(place);
    return draft('traffic', 'ip', routeArguments(route, verb, shadow.link.name), [key]);
  });
}

function ruleDrafts(shadow: NetShadow): Draft[] {
  // Rules outlive their interface; adding one that is there is refused, which the program takes for success.
  return shadow.rules.map((rule) =>
    draft(
      'rest',
      'ip',
      [
        ...(rule.family === 'inet6' ? ['-6'] : []),
        'rule',
        'add',
        'priority',
        String(rule.priority),
        ...rule.args,
      ],
      [ruleKey(rule)],
    ),
  );
}

const isStatic = (neighbour: Neighbour): boolean =>
  neighbour.proxy || neighbour.state === 'permanent' || neighbour.state === 'noarp';

function gatewaysOf(routes: readonly Route[]): Set<string> {
  const gateways = new Set<string>();
  for (const { args } of routes) {
    for (const { word, values } of routeWords(args)) if (word === 'via') gateways.add(values.at(-1) ?? '');
  }
  return gateways;
}

/**
 * Neighbours. Static ones come back as they were. Learned ones are primed, so that nobody waits for ARP; the
 * gateways (or, without one, the first few) are asked at once, which also tells the switch where the guest now is.
 */
function neighbourDrafts(shadow: NetShadow, learned: 'announce' | 'prime'): Draft[] {
  const dev = shadow.link.name;
  const gateways = gatewaysOf(shadow.routes);
  const living = shadow.neighbours.filter(
    (n) => n.proxy || (n.mac !== undefined && n.state !== 'failed' && n.state !== 'incomplete'),
  );
  const anyGateway = living.some((n) => !isStatic(n) && gateways.has(n.address));
  let asked = 0;
  return living.map((neighbour) => {
    const { address, mac } = neighbour;
    const key = [neighbourKey(neighbour)];
    if (neighbour.proxy || mac === undefined) {
      return draft('traffic', 'ip', ['neighbour', 'replace', 'proxy', address, 'dev', dev], key);
    }
    let nud = neighbour.state;
    if (!isStatic(neighbour)) {
      const ask = learned === 'announce' && (anyGateway ? gateways.has(address) : asked < ANNOUNCE_TO);
      if (ask) asked += 1;
      nud = ask ? 'probe' : 'stale';
    }
    const argv = ['neighbour', 'replace', address, 'lladdr', mac, 'dev', dev, 'nud', nud];
    if (neighbour.router) argv.push('router');
    if (neighbour.externLearn) argv.push('extern_learn');
    return draft('traffic', 'ip', argv, key);
  });
}

/** What follows the addresses: routes, neighbours, rules. */
export function onwardDrafts(shadow: NetShadow, findings: Findings): Draft[] {
  return [...routeDrafts(shadow, findings), ...neighbourDrafts(shadow, 'announce'), ...ruleDrafts(shadow)];
}

/**
 * Asks known neighbours whether they are there, so that the switch hears where the guest now is: for the kernel's
 * failover, which moves traffic without a word.
 */
export const announceDrafts = (shadow: NetShadow, stage: Stage): Draft[] =>
  neighbourDrafts(shadow, 'announce')
    .filter(({ argv }) => argv.includes('probe'))
    .map((d) => ({ ...d, stage, attributes: [] }));

/**
 * What a shadow interface without a standby needs when it gets a link again: the neighbours that it forgot, and no
 * memory of those that were asked in vain, which would not be asked again for up to a second. The bond announces
 * itself. Static neighbours too: a bond that lost its last member takes the MAC of the next one, and any change of
 * an interface's MAC makes the kernel forget them all.
 */
export function carrierDrafts(shadow: NetShadow): Draft[] {
  const flush = (state: string) =>
    draft('traffic', 'ip', ['neighbour', 'flush', 'dev', shadow.link.name, 'nud', state]);
  return [flush('incomplete'), flush('failed'), ...neighbourDrafts(shadow, 'prime')];
}
