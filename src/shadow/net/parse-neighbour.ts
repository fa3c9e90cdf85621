/** `ip -j neighbour show` and `ip -j maddress show`. Pure. */
import { z } from 'zod';
import { isObject, type Report, reportUnknownKeys } from './capture-text.ts';
import type { Multicast, Neighbour } from './model.ts';

const NeighbourJson = z.looseObject({
  dst: z.string(),
  dev: z.string(),
  lladdr: z.string().optional(),
  state: z.array(z.string()).default([]),
});
/** Flags are present with `null`. */
const NEIGHBOUR_KEYS = new Set(
  'dst dev lladdr state proxy router extern_learn offload managed ext_managed sticky use probes used confirmed updated refcnt ifname'.split(
    ' ',
  ),
);

/** The kernel's own entries for multicast and broadcast. */
const GROUP_MAC = /^(33:33:|01:00:5e:|ff:ff:ff:ff:ff:ff$)/;

/** One neighbour of the interface; nothing for the kernel's own entries and for those without an answer. */
export function neighbourOf(
  object: Record<string, unknown>,
  carrying: string,
  report: Report,
): Neighbour | undefined {
  const parsed = NeighbourJson.safeParse(object);
  if (!parsed.success) {
    report('neighbour', JSON.stringify(object));
    return undefined;
  }
  const { dst, dev, lladdr, state } = parsed.data;
  if (dev !== carrying) return undefined;
  const proxy = 'proxy' in object;
  const nud = (state[0] ?? (proxy ? 'permanent' : 'none')).toLowerCase();
  if (!proxy && lladdr === undefined) return undefined;
  if (nud === 'noarp' && GROUP_MAC.test(lladdr ?? '')) return undefined;
  if (nud === 'failed' || nud === 'incomplete') return undefined;
  reportUnknownKeys(`neighbour ${dst}`, object, NEIGHBOUR_KEYS, report);
  return {
    family: dst.includes(':') ? 'inet6' : 'inet',
    address: dst,
    ...(lladdr === undefined ? {} : { mac: lladdr }),
    state: nud,
    proxy,
    router: 'router' in object,
    externLearn: 'extern_learn' in object,
  };
}

const MulticastJson = z.looseObject({
  link: z.string().optional(),
  family: z.enum(['inet', 'inet6']).optional(),
  address: z.string().optional(),
  users: z.number().int().default(1),
  features: z.union([z.string(), z.array(z.string())]).optional(),
});

const MULTICAST_KEYS = new Set([...Object.keys(MulticastJson.shape), 'static']);
const INTERFACE_KEYS = new Set(['ifindex', 'ifname', 'maddr']);

/** The multicast addresses of one interface, an object of `ip -j maddress show`. */
export function multicastOf(object: Record<string, unknown>, report: Report): Multicast[] {
  const found: Multicast[] = [];
  reportUnknownKeys('multicast', object, INTERFACE_KEYS, report);
  for (const item of Array.isArray(object.maddr) ? object.maddr : []) {
    const parsed = MulticastJson.safeParse(item);
    const address = parsed.data?.link ?? parsed.data?.address;
    if (!parsed.success || address === undefined) {
      report('multicast', JSON.stringify(item));
      continue;
    }
    const { link, family = 'inet', users, features } = parsed.data;
    reportUnknownKeys(`multicast ${address}`, parsed.data, MULTICAST_KEYS, report);
    const isStatic = [features ?? []].flat().includes('static') || (isObject(item) && item.static === true);
    found.push({ family: link === undefined ? family : 'link', address, users, static: isStatic });
  }
  return found;
}
