/**
 * Routes that the kernel learned from router advertisements. Nobody but the kernel can make one that it knows as its own:
 * one that is added with the same metric stands in its way. The next advertisement then meets a route that is equal
 * and not the kernel's own, and Linux heeds nothing else of it: no prefix, no lifetime of an address, as long as that
 * route stands. So what stands in for it, until the router has answered, has a worse metric. Pure.
 */
import { routeKey, upperKey } from './keys.ts';
import type { NetShadow, Route } from './model.ts';
import { ownValue, routeWords } from './route-words.ts';
import { asShadow } from './uppers/layers.ts';

/** How long a route stands that a network manager made of an advertisement without saying for how long, seconds. */
const ADVERTISED_SECONDS = 60;

/** What the kernel gives a route that says nothing. */
const DEFAULT_METRIC = 1024;

/** Linux's metrics are 32 bits. */
const WORST_METRIC = 0xffff_ffff;

export const STANDS_IN =
  'nobody chose it: the kernel learns its own when the router answers, and a route of a worse metric stands in until then';

const isAdvertised = ({ automatic, args }: Route): boolean => automatic && ownValue(args, 'proto') === 'ra';

/** Does the kernel itself heed advertisements on the interface? Else its routes are those of a network manager. */
function kernelHeeds({ sysctls }: Pick<NetShadow, 'sysctls'>): boolean {
  const value = (name: string) => sysctls.find(({ path }) => path === `ipv6/conf/{dev}/${name}`)?.value;
  const accepts = value('accept_ra') ?? '1';
  return accepts === '2' || (accepts === '1' && (value('forwarding') ?? '0') === '0');
}

/** The route with another value of one word, which comes last where it was not there. */
function withWord(route: Route, word: string, value: string): Route {
  const words = routeWords(route.args);
  const args = words.flatMap((each) => [each.word, ...(each.word === word ? [value] : each.values)]);
  return { ...route, args: words.some((each) => each.word === word) ? args : [...args, word, value] };
}

const metricOf = ({ args }: Route): number => Number(ownValue(args, 'metric') ?? DEFAULT_METRIC);

/** The route of a worse metric; undefined where there is no worse one. */
function worse(route: Route): Route | undefined {
  const metric = metricOf(route) + 1;
  return metric > WORST_METRIC ? undefined : withWord(route, 'metric', String(metric));
}

/**
 * What stands in for a learned route of the shadow; undefined when it was not learned, or stood in itself for one that
 * is there again and gets a new one.
 */
export function standInFor(
  route: Route,
  shadow: Pick<NetShadow, 'sysctls' | 'routes'>,
): { route: Route; key: string } | undefined {
  if (!isAdvertised(route)) return undefined;
  const { args } = route;
  const lasting = withWord(route, 'expires', ownValue(args, 'expires') ?? String(ADVERTISED_SECONDS));
  const key = routeKey(route);
  if (!kernelHeeds(shadow)) return { route: lasting, key };
  if (stoodIn(key, shadow)) return undefined;
  return { route: worse(lasting) ?? lasting, key };
}

/** Did the route of this key stand in for another one that is there? */
const stoodIn = (key: string, { routes }: Pick<NetShadow, 'routes'>): boolean =>
  routes.some((other) => {
    const stand = isAdvertised(other) ? worse(other) : undefined;
    return stand !== undefined && routeKey(stand) === key;
  });

/** Keys of learned routes, each with the key of what stands in for it; of interfaces above too. */
export function standInKeys(shadow: NetShadow): Map<string, string> {
  const keys = new Map<string, string>();
  const add = (own: Pick<NetShadow, 'sysctls' | 'routes'>, named: (key: string) => string) => {
    for (const each of own.routes) {
      const learned = standInFor(each, own);
      if (learned !== undefined) keys.set(named(learned.key), named(routeKey(learned.route)));
    }
  };
  add(shadow, (key) => key);
  for (const upper of shadow.uppers ?? []) add(asShadow(upper), (key) => upperKey(upper.link.name, key));
  return keys;
}
