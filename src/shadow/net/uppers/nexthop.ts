/** Nexthop objects (`ip nexthop`): parsed, and made again before the routes that use them. Pure. */
import { z } from 'zod';
import type { Report } from '../capture-text.ts';
import { nexthopKey, routeKey, upperKey } from '../keys.ts';
import type { NetShadow, Nexthop, Route } from '../model.ts';
import { type Draft, draft } from '../plan-draft.ts';
import { routeArguments } from '../plan-layer3.ts';
import type { Stage } from '../plan-model.ts';
import { ownValue } from '../route-words.ts';

const Text = z.union([z.string(), z.number()]).transform(String);

/** As `ip -j -d nexthop show` prints it: strict, so that a word that is new is not left out of what is made again. */
const NexthopJson = z.strictObject({
  id: z.number().int(),
  gateway: z.string().optional(),
  via: z.object({ family: z.string().optional(), host: z.string() }).optional(),
  dev: z.string().optional(),
  scope: z.string().optional(),
  protocol: Text.optional(),
  blackhole: z.unknown().optional(),
  fdb: z.unknown().optional(),
  group: z.array(z.strictObject({ id: z.number().int(), weight: z.number().int().optional() })).optional(),
  type: z.string().optional(),
  resilient_args: z
    .strictObject({
      buckets: z.number().int().optional(),
      idle_timer: z.number().optional(),
      unbalanced_timer: z.number().optional(),
      unbalanced_time: z.number().optional(),
    })
    .optional(),
  flags: z.array(z.string()).default([]),
});
type NexthopJson = z.infer<typeof NexthopJson>;

/** Flags that say how it is, not what it shall be. */
const STATE_FLAGS = new Set(['dead', 'linkdown', 'offload', 'trap']);

/** Does this object of ip's JSON look like a nexthop? Its other objects with an `id` have no flags and group. */
export const isNexthop = (object: Record<string, unknown>): boolean =>
  typeof object.id === 'number' && ('flags' in object || 'group' in object);

const groupText = (group: NonNullable<NexthopJson['group']>): string =>
  group
    .map(({ id, weight }) => (weight === undefined || weight === 1 ? `${id}` : `${id},${weight}`))
    .join('/');

function groupArguments(parsed: NexthopJson): string[] {
  const args = ['group', groupText(parsed.group ?? [])];
  if (parsed.type !== undefined) args.push('type', parsed.type);
  const { buckets, idle_timer, unbalanced_timer } = parsed.resilient_args ?? {};
  if (buckets !== undefined) args.push('buckets', String(buckets));
  if (idle_timer !== undefined) args.push('idle_timer', String(idle_timer));
  if (unbalanced_timer !== undefined) args.push('unbalanced_timer', String(unbalanced_timer));
  return args;
}

function parse(object: Record<string, unknown>): Nexthop | undefined {
  const result = NexthopJson.safeParse(object);
  if (!result.success) return undefined;
  const { data } = result;
  const protocol = data.protocol === undefined || data.protocol === 'unspec' ? [] : ['proto', data.protocol];
  const fdb = 'fdb' in object ? ['fdb'] : [];
  if (data.group !== undefined) return { id: data.id, args: [...groupArguments(data), ...protocol, ...fdb] };
  if (data.dev === undefined) return undefined;
  const gateway = data.gateway ?? data.via?.host;
  const args = [...(gateway === undefined ? [] : ['via', gateway]), 'dev', data.dev, ...protocol];
  for (const flag of data.flags) {
    if (flag === 'onlink') args.push(flag);
    else if (!STATE_FLAGS.has(flag)) return undefined;
  }
  // ip says of one without a gateway no family; the kernel gives an IPv4 one the scope of a host
  const family = gateway === undefined && data.scope === 'link' ? ['inet6'] : [];
  return { id: data.id, dev: data.dev, args: [...args, ...fdb, ...family] };
}

/** Nexthops on any of the interfaces, and then the groups that have one of them. */
export function nexthopsOf(
  objects: readonly Record<string, unknown>[],
  interfaces: ReadonlySet<string>,
  report: Report,
): Nexthop[] {
  const single: Nexthop[] = [];
  const groups: Nexthop[] = [];
  for (const object of objects) {
    const concerns = typeof object.dev === 'string' && interfaces.has(object.dev);
    if (!concerns && !('group' in object)) continue;
    const nexthop = parse(object);
    if (nexthop === undefined) report('nexthop', JSON.stringify(object));
    else (nexthop.dev === undefined ? groups : single).push(nexthop);
  }
  const ids = new Set(single.map(({ id }) => String(id)));
  const concerned = groups.filter(({ args }) =>
    (args[1] ?? '').split('/').some((member) => ids.has(member.replace(/,.*/, ''))),
  );
  return [...single, ...concerned];
}

/** The IPv6 mark that `parse` leaves is an option of `ip`. */
function nexthopArguments({ id, args }: Nexthop): string[] {
  const inet6 = args.at(-1) === 'inet6';
  return [
    ...(inet6 ? ['-6'] : []),
    'nexthop',
    'replace',
    'id',
    String(id),
    ...(inet6 ? args.slice(0, -1) : args),
  ];
}

const byObject = ({ args }: Route): boolean => ownValue(args, 'nhid') !== undefined;

/**
 * Nexthop objects and the routes that use them. The kernel takes such an object only on an interface that is up and has
 * a link, and removes it, with its routes, when the link goes: hence the stage `linked`.
 */
export function nexthopDrafts(shadow: NetShadow, stage: Stage): Draft[] {
  const nexthops = shadow.nexthops ?? [];
  if (nexthops.length === 0) return [];
  const routes = [
    ...shadow.routes.map((route) => ({ route, key: routeKey(route) })),
    ...(shadow.uppers ?? []).flatMap(({ link, routes: own }) =>
      own.map((route) => ({ route, key: upperKey(link.name, routeKey(route)) })),
    ),
  ].filter(({ route }) => byObject(route));
  return [
    ...nexthops.map((nexthop) => draft(stage, 'ip', nexthopArguments(nexthop), [nexthopKey(nexthop)])),
    // a group on two interfaces is a route of both, and made twice
    ...routes.map(({ route, key }) =>
      draft(stage, 'ip', routeArguments(route, 'replace', shadow.link.name), [key]),
    ),
  ];
}
