/** What two shadows have in common and what not, attribute by attribute. Pure. */
import { attributesOf } from '../net/attributes.ts';
import type { Attribute, NetShadow } from '../net/model.ts';

/** One attribute that differs; a side that does not have it leaves its value out. */
export interface Change {
  key: string;
  before?: string;
  after?: string;
}

/** Keys of what carries the attributes: the device, and the kernel object above it. */
const HARDWARE = ['driver', 'driverVersion', 'pciId', 'pciPath', 'mac', 'name'] as const;

/**
 * All that is compared between two shadows, sorted by key, each key once: the attributes, the device that carries
 * them (`hardware.…`), what stands above it (`standin.…`), the standby, and what was seen and not understood
 * (`unknown.…`). Free of time and of what was learned, so that two captures of an unchanged device are equal.
 */
export function comparedOf(shadow: NetShadow): Attribute[] {
  const found = new Map(attributesOf(shadow).map(({ key, value }) => [key, value]));
  const add = (key: string, value: string | undefined) => {
    if (value !== undefined) found.set(key, value);
  };
  for (const field of HARDWARE) add(`hardware.${field}`, shadow.hardware?.[field]);
  const { standIn, standby } = shadow;
  add('standin.kind', standIn.kind);
  if (standIn.kind !== 'none') add('standin.name', standIn.name);
  if (standIn.kind === 'bond') add('standin.members', standIn.members.toSorted().join(' '));
  add('standby.pciPath', standby?.pciPath);
  add('standby.driver', standby?.driver);
  const unknown = Map.groupBy(shadow.unknown, ({ where }) => where);
  for (const [where, texts] of unknown) {
    add(
      `unknown.${where}`,
      texts
        .map(({ text }) => text)
        .toSorted()
        .join('\n'),
    );
  }
  return [...found].map(([key, value]) => ({ key, value })).toSorted((a, b) => compare(a.key, b.key));
}

/** What must be said to come from one list of attributes to the other, sorted by key. */
export function changesBetween(before: readonly Attribute[], after: readonly Attribute[]): Change[] {
  const old = new Map(before.map(({ key, value }) => [key, value]));
  const now = new Map(after.map(({ key, value }) => [key, value]));
  const changes: Change[] = [];
  for (const key of new Set([...old.keys(), ...now.keys()])) {
    const [was, is] = [old.get(key), now.get(key)];
    if (was === is) continue;
    changes.push({
      key,
      ...(was === undefined ? {} : { before: was }),
      ...(is === undefined ? {} : { after: is }),
    });
  }
  return changes.toSorted((a, b) => compare(a.key, b.key));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
