/** Everything that is bound to the index of the interface or of one that stands on it. Pure. */
import type { Report, Section } from '../capture-text.ts';
import type { Dependent, NetShadow } from '../model.ts';
import { firewallOf } from './parse-firewall.ts';
import { standingElsewhere } from './parse-namespaces.ts';
import { membershipsOf, socketsOf } from './parse-sockets.ts';

/** @returns undefined when nobody looked: a capture of an earlier release, or a guest without `ss`. */
export function dependentsOf(
  sections: ReadonlyMap<string, Section>,
  shadow: Pick<NetShadow, 'link' | 'multicast' | 'addresses' | 'uppers'>,
  namespaces: readonly Section[],
  report: Report,
): Dependent[] | undefined {
  const links = [shadow, ...(shadow.uppers ?? [])].map(({ link }) => link);
  const interfaces = new Set(links.map(({ name }) => name));
  const byIndex = new Map(links.map(({ ifindex, name }) => [ifindex, name]));
  const elsewhere = standingElsewhere(namespaces, byIndex, report);
  const sockets = sections.get('sockets');
  if (sockets === undefined || sockets.code === 127) {
    for (const { what, on } of elsewhere) report('namespace', `${what} stands on ${on}`);
    return undefined;
  }
  return [
    ...socketsOf(sockets.lines, interfaces, report),
    ...membershipsOf(shadow),
    ...firewallOf(sections.get('firewall')?.lines ?? [], interfaces),
    ...elsewhere,
  ];
}
