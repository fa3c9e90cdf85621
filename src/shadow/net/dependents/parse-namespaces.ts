/** Interfaces of other network namespaces that stand on one of ours, as those of containers do. Pure. */
import { isObject, jsonObjects, type Report, type Section } from '../capture-text.ts';
import type { Dependent } from '../model.ts';

/**
 * Reads the capture's sections `namespace`, each with the name of one and what `ip` says of its links. A link tells the
 * index of what it stands on, and that this is in another namespace, but not in which: where a third namespace has an
 * interface of the same index, one is told too many.
 * @param interfaces ours, by index
 */
export function standingElsewhere(
  sections: readonly Section[],
  interfaces: ReadonlyMap<number, string>,
  report: Report,
): Dependent[] {
  return sections.flatMap(({ name: section, code, lines: [name = '', ...lines] }) => {
    const where = `${section} ${name}`;
    if (code !== 0) {
      report(where, lines.join('\n'));
      return [];
    }
    return jsonObjects({ name: where, code, lines }, report).flatMap((link): Dependent[] => {
      const { ifname, link_index: index, link_netnsid: elsewhere, linkinfo } = link;
      const kind = isObject(linkinfo) ? linkinfo.info_kind : undefined;
      // that of a veth is its peer, which stands on nothing
      if (elsewhere === undefined || typeof kind !== 'string' || kind === 'veth') return [];
      const on = typeof index === 'number' ? interfaces.get(index) : undefined;
      return on === undefined ? [] : [{ kind: 'upper', on, what: `${kind} ${String(ifname)} in ${name}` }];
    });
  });
}
