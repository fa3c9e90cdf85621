/** Everything that is bound to the index of the interface or of one that stands on it. Pure. */
import type { Report, Section } from '../capture-text.ts';
import type { Dependent, NetShadow } from '../model.ts';
import { firewallOf } from './parse-firewall.ts';
import { membershipsOf, socketsOf } from './parse-sockets.ts';

/** @returns undefined when nobody looked: a capture of an earlier release, or a guest without `ss`. */
export function dependentsOf(
  sections: ReadonlyMap<string, Section>,
  shadow: Pick<NetShadow, 'link' | 'multicast' | 'addresses' | 'uppers'>,
  report: Report,
): Dependent[] | undefined {
  const sockets = sections.get('sockets');
  if (sockets === undefined || sockets.code === 127) return undefined;
  const interfaces = new Set([shadow.link.name, ...(shadow.uppers ?? []).map(({ link }) => link.name)]);
  return [
    ...socketsOf(sockets.lines, interfaces, report),
    ...membershipsOf(shadow),
    ...firewallOf(sections.get('firewall')?.lines ?? [], interfaces),
  ];
}
