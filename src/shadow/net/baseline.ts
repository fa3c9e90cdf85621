/**
 * Baselines: what a kind of device begins with when nobody has touched it. A value that is only the source driver's own
 * was nobody's choice: it is not forced upon another driver (offloads are, as they change what traffic looks like), and
 * where the new driver has another one of its own, that is no loss. Pure.
 */
import { attributesOf } from './attributes.ts';
import type { DeviceAbilities, NetShadow, Outcome } from './model.ts';

/** Kinds of attributes that a driver decides unless it is told. */
const OF_THE_DRIVER =
  /^(feature|ring|channel|coalesce|pause|media|private-flag|wake|message|eee|fec|rss|flow-hash|ntuple|clock|queue|irq|napi)\./;

/** Is it an attribute that a driver decides unless it is told? */
export const isOfTheDriver = (key: string): boolean => OF_THE_DRIVER.test(key);

/** What a device that nobody has touched shows, by key of the attribute. */
export function defaultsOf(fresh: NetShadow): Record<string, string> {
  return Object.fromEntries(
    attributesOf(fresh).flatMap(({ key, value }) => (isOfTheDriver(key) ? [[key, value]] : [])),
  );
}

/** Keys of the shadow's attributes that have the value which their driver begins with. */
export function untouchedOf(
  shadow: NetShadow,
  defaults: Readonly<Record<string, string>> | undefined,
): string[] {
  if (defaults === undefined) return [];
  return attributesOf(shadow).flatMap(({ key, value }) =>
    isOfTheDriver(key) && defaults[key] === value ? [key] : [],
  );
}

/** How it is told that a value gave way to another driver's own. */
export const byDefault = (device: string): string =>
  `nobody chose it: it is what the driver begins with, and this is what ${device} begins with`;

/** What nobody chose and is known to be something else on the destination's device. */
export function defaultsThere(
  shadow: NetShadow,
  untouched: readonly string[],
  abilities: DeviceAbilities | undefined,
): Omit<Extract<Outcome, { fate: 'adapted' }>, 'fate'>[] {
  const there = abilities?.defaults;
  if (abilities === undefined || there === undefined) return [];
  const keys = new Set(untouched);
  return attributesOf(shadow).flatMap(({ key, value }) => {
    const now = there[key];
    if (!keys.has(key) || now === undefined || now === value || key.startsWith('feature.')) return [];
    return [{ key, value, now, how: byDefault(abilities.driver) }];
  });
}
