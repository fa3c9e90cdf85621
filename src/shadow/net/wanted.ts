/**
 * What a user set and a device on the way could not have: it is kept with the VM, so that a later device gets what was
 * wanted and not what was left of it. It holds only for as long as nothing else happens to it: when the guest was
 * started again, or the value is no longer the one that was left, somebody has chosen anew. Pure.
 */
import { attributesOf } from './attributes.ts';
import { isOfTheDriver } from './baseline.ts';
import { channelKey, coalesceKey, featureKey, linkKey, lowerKey, pauseKey, ringKey } from './keys.ts';
import type { Attribute, DriverState, NetShadow, Outcome, Setting } from './model.ts';

/** One value that waits for a device that can have it. */
export interface WantedValue {
  /** Key of the attribute. */
  key: string;
  value: string;
  /**
   * What the attribute was left at, as `attributesOf` shows it; absent when it is not there at all. Of queues and
   * interrupts, what all of one kind were left at: who changes one of them has chosen all of them anew.
   */
  left?: string | undefined;
  /** Boot of the guest in which it was left so. */
  boot: string;
}

const LISTS = [
  ['rings', ringKey],
  ['channels', channelKey],
  ['coalesce', coalesceKey],
  ['pause', pauseKey],
] as const;

const MTUS = [linkKey('mtu'), lowerKey('mtu')];

const isWantable = (key: string): boolean =>
  (isOfTheDriver(key) && !key.startsWith('clock.')) || MTUS.includes(key);

/** What belongs together: one knob of all queues of a direction, or all interrupts. */
function groupOf(key: string): string | undefined {
  const [, direction, knob] = /^queue\.(rx|tx)-\d+\.(\w+)$/.exec(key) ?? [];
  if (knob !== undefined) return `queue.${direction}.${knob}`;
  return key.startsWith('irq.') ? 'irq' : undefined;
}

const groupText = (attributes: readonly Attribute[], group: string): string =>
  attributes
    .filter(({ key }) => groupOf(key) === group)
    .map(({ key, value }) => `${key}=${value}`)
    .join(' ');

/** The value itself, where the attribute shows only its hash. */
const rawValue = ({ driver }: NetShadow, key: string, shown: string): string =>
  driver?.tuning?.find(({ name }) => name === key)?.value ?? shown;

/**
 * What is still wanted after a replay: all that was chosen, and that the new device has not.
 * @param before what was replayed, with what was wanted already.
 * @param untouched keys of what nobody chose.
 */
export function wantedAfter(
  before: NetShadow,
  after: NetShadow,
  outcomes: readonly Outcome[],
  untouched: readonly string[] = [],
): WantedValue[] {
  const boot = after.hardware?.boot;
  if (boot === undefined) return [];
  const unchosen = new Set(untouched);
  const shown = attributesOf(after);
  const now = new Map(shown.map(({ key, value }) => [key, value]));
  const isWanted = ({ fate, key }: Outcome) => fate !== 'restored' && !unchosen.has(key) && isWantable(key);
  // of what belongs together all is kept, for it to come back as a whole
  const groups = new Set(outcomes.filter(isWanted).map(({ key }) => groupOf(key)));
  return outcomes.flatMap((outcome) => {
    const { key } = outcome;
    const group = groupOf(key);
    if (group === undefined ? !isWanted(outcome) : !groups.has(group)) return [];
    const left = group === undefined ? now.get(key) : groupText(shown, group);
    return [{ key, value: rawValue(before, key, outcome.value), left, boot }];
  });
}

function replaced(settings: readonly Setting[], name: string, value: string): Setting[] {
  const found = settings.some((setting) => setting.name === name);
  return found
    ? settings.map((setting) => (setting.name === name ? { ...setting, value } : setting))
    : [...settings, { name, value }];
}

function driverWith(driver: DriverState, key: string, value: string): DriverState {
  const name = key.slice(key.indexOf('.') + 1);
  for (const [list, keyOf] of LISTS) {
    if (key === keyOf(name)) return { ...driver, [list]: replaced(driver[list], name, value) };
  }
  if (key !== featureKey(name)) return { ...driver, tuning: replaced(driver.tuning ?? [], key, value) };
  const others = driver.features.filter((feature) => feature.name !== name);
  return { ...driver, features: [...others, { name, on: value === 'on', fixed: false }] };
}

/** The shadow with what is wanted in place of what was left of it. */
export function withWanted(shadow: NetShadow, wanted: readonly WantedValue[] | undefined): NetShadow {
  const boot = shadow.hardware?.boot;
  if (wanted === undefined || wanted.length === 0 || boot === undefined) return shadow;
  const shown = attributesOf(shadow);
  const now = new Map(shown.map(({ key, value }) => [key, value]));
  const holds = wanted.filter(({ key, left, boot: then }) => {
    const group = groupOf(key);
    return then === boot && left === (group === undefined ? now.get(key) : groupText(shown, group));
  });
  let result = withoutGroups(shadow, new Set(holds.flatMap(({ key }) => groupOf(key) ?? [])));
  for (const { key, value } of holds) {
    const { link, lower, driver } = result;
    if (key === linkKey('mtu')) result = { ...result, link: { ...link, mtu: Number(value) } };
    else if (key === lowerKey('mtu'))
      result = lower === undefined ? result : { ...result, lower: { ...lower, mtu: Number(value) } };
    else if (driver !== undefined) result = { ...result, driver: driverWith(driver, key, value) };
  }
  return result;
}

/** What a device made of settings of another layout of queues gives way to those themselves. */
function withoutGroups(shadow: NetShadow, groups: ReadonlySet<string>): NetShadow {
  const { driver } = shadow;
  if (groups.size === 0 || driver?.tuning === undefined) return shadow;
  const tuning = driver.tuning.filter(({ name }) => !groups.has(groupOf(name) ?? ''));
  return { ...shadow, driver: { ...driver, tuning } };
}
