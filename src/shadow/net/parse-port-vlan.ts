/** `bridge -j -d vlan show`: VLANs of a port. Pure. */
import { z } from 'zod';
import type { Report } from './capture-text.ts';
import type { PortVlan } from './port-model.ts';

const VlanJson = z.looseObject({
  vlan: z.number().int(),
  vlanEnd: z.number().int().optional(),
  flags: z.array(z.string()).default([]),
});

/** Options of a VLAN with the value that a fresh one has. */
const FRESH: Readonly<Record<string, unknown>> = {
  state: 'forwarding',
  mcast_router: 1,
  mcast_max_groups: 0,
  neigh_suppress: false,
};
const COUNTERS = new Set(['mcast_n_groups']);

interface Single extends Omit<PortVlan, 'vid'> {
  from: number;
  to: number;
}

function singleOf(each: unknown, report: Report): Single | undefined {
  const { data } = VlanJson.safeParse(each);
  if (data === undefined) {
    report('bridge vlan', JSON.stringify(each));
    return undefined;
  }
  const { vlan, vlanEnd, flags, ...more } = data;
  const options: string[] = [];
  for (const [name, value] of Object.entries(more)) {
    if (COUNTERS.has(name) || value === FRESH[name]) continue;
    if (!(name in FRESH) || typeof value === 'object') report('bridge vlan', JSON.stringify(each));
    else options.push(name, value === true ? 'on' : value === false ? 'off' : String(value));
  }
  if (flags.some((flag) => flag !== 'PVID' && flag !== 'Egress Untagged')) {
    report('bridge vlan', JSON.stringify(each));
  }
  return {
    from: vlan,
    to: vlanEnd ?? vlan,
    pvid: flags.includes('PVID'),
    untagged: flags.includes('Egress Untagged'),
    options,
  };
}

/** VLANs of a port; neighbours with the same flags are one, however the release prints them. */
export function vlansOf(list: unknown, report: Report): PortVlan[] {
  const merged: Single[] = [];
  for (const each of Array.isArray(list) ? list : []) {
    const next = singleOf(each, report);
    if (next === undefined) continue;
    const last = merged.at(-1);
    const joins =
      last !== undefined &&
      !last.pvid &&
      !next.pvid &&
      last.to + 1 === next.from &&
      last.untagged === next.untagged &&
      last.options.join(' ') === next.options.join(' ');
    if (joins) last.to = next.to;
    else merged.push(next);
  }
  return merged.map(({ from, to, ...vlan }) => ({
    vid: from === to ? String(from) : `${from}-${to}`,
    ...vlan,
  }));
}
