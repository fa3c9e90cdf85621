/**
 * Labels of a shadow's versions in the form of QAVNS, four integers from left to right: release, generation, features
 * list, corrections list (Tajamolian & Ghasemzadeh, "A Versioning Approach to VM Live Migration", IJE Transactions B
 * 31(11), 2018). The papers leave open what makes an object's numbers grow; this is our reading for a device:
 *
 *   release      the device is another one: its model, driver or place
 *   generation   the kernel object that carries the state was made anew: another ifindex, name or shadow interface
 *   features     the list of attributes is another one: some came or went
 *   corrections  the same attributes have other values
 *
 * A number that grows takes those to its right back to 0. Pure.
 */
import { ShadowferryError } from '../../errors.ts';
import type { Change } from './changes.ts';

export interface VersionLabel {
  release: number;
  generation: number;
  features: number;
  corrections: number;
}

const FIRST: VersionLabel = { release: 1, generation: 0, features: 0, corrections: 0 };

const OF_THE_DEVICE = /^hardware\.(driver|pciId|pciPath|mac)$/;
const OF_THE_OBJECT = /^(link\.ifindex|link\.name|standin\.(kind|name))$/;

/** The label after `last` (none: the first one) for what changed. */
export function nextLabel(last: VersionLabel | undefined, changes: readonly Change[]): VersionLabel {
  if (last === undefined) return FIRST;
  const has = (pattern: RegExp) => changes.some(({ key }) => pattern.test(key));
  if (has(OF_THE_DEVICE)) return { ...FIRST, release: last.release + 1 };
  if (has(OF_THE_OBJECT)) return { ...last, generation: last.generation + 1, features: 0, corrections: 0 };
  if (changes.some(({ before, after }) => before === undefined || after === undefined)) {
    return { ...last, features: last.features + 1, corrections: 0 };
  }
  return { ...last, corrections: last.corrections + 1 };
}

/** `2.1.0.3` */
export function labelText({ release, generation, features, corrections }: VersionLabel): string {
  return [release, generation, features, corrections].join('.');
}

/** The opposite of `labelText`; undefined for any other text. */
export function readLabel(text: string): VersionLabel | undefined {
  const found = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})$/.exec(text);
  if (found === null) return undefined;
  const [release, generation, features, corrections] = found.slice(1).map(Number);
  return {
    release: release ?? 0,
    generation: generation ?? 0,
    features: features ?? 0,
    corrections: corrections ?? 0,
  };
}

/** A label from the store. @throws INTERNAL when it is none */
export function parseLabel(text: string): VersionLabel {
  const label = readLabel(text);
  if (label === undefined) throw new ShadowferryError('INTERNAL', { why: `"${text}" is not a version` });
  return label;
}
