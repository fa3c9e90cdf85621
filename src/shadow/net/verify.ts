/** Compares a shadow with what the new device shows: every attribute ends as restored, adapted or lost. Pure. */
import { attributesOf } from './attributes.ts';
import { byDefault } from './baseline.ts';
import { changedFate, NOTHING, type TuningFate, tuningFate } from './fate-tuning.ts';
import { featureKey, keyWithin } from './keys.ts';
import { standInKeys } from './learned-routes.ts';
import type { NetShadow, Outcome, Setting } from './model.ts';
import type { OperationSet, ReplayPlan } from './plan-model.ts';
import { xdpAdapted } from './plan-xdp.ts';

/** How one operation of the replay plan ended in the guest; those that went well may be left out. */
export interface OperationResult {
  id: number;
  /** Exit code. */
  rc: number;
  stderr?: string | undefined;
  /** Which set the id is of; `attach` when absent. */
  set?: OperationSet | undefined;
}

export type VerifyPlan = Pick<ReplayPlan, 'adaptations' | 'losses'> &
  Partial<Pick<ReplayPlan, 'sets' | 'untouched'>>;

/** What is known besides the two shadows. */
interface Context {
  before: NetShadow;
  after: NetShadow;
  /** How messages call the new device. */
  device: string;
  /** By key: how the operations that were to restore it ended. */
  operations: ReadonlyMap<string, OperationResult[]>;
}

/**
 * What became of each attribute of `before` (sorted by key): `restored` when `after` shows the same value, else
 * `adapted` with how, or `lost` with why, from the plan where it foresaw it, from what the new device can do, or
 * from what the operation that should have restored it said.
 */
export function verify(
  before: NetShadow,
  after: NetShadow,
  plan?: VerifyPlan,
  results: readonly OperationResult[] = [],
): Outcome[] {
  const now = new Map(attributesOf(after).map(({ key, value }) => [key, value]));
  const context: Context = {
    before,
    after,
    device: after.hardware?.driver ?? 'the new device',
    operations: operationsByKey(plan, results),
  };
  const standing = standInKeys(before);
  const untouched = new Set(plan?.untouched);
  const losses = new Map(plan?.losses.map((loss) => [loss.key, loss]));
  const adaptations = new Map(plan?.adaptations.map((adaptation) => [adaptation.key, adaptation]));
  return attributesOf(before).map(({ key, value }): Outcome => {
    const found = now.get(key) ?? elsewhere(key, after, now) ?? letGo(key, value, losses);
    if (found === value) return { fate: 'restored', key, value };
    const planned = adaptations.get(key);
    if (planned !== undefined && planned.now === (found ?? now.get(standing.get(key) ?? ''))) {
      return { fate: 'adapted', key, value, now: planned.now, how: planned.how };
    }
    if (untouched.has(key) && after.hardware !== undefined) {
      return { fate: 'adapted', key, value, now: found ?? NOTHING, how: byDefault(context.device) };
    }
    const loss = losses.get(key);
    if (loss !== undefined) return { fate: 'lost', key, value, why: loss.why };
    return explain(key, value, found, context);
  });
}

/** Where an attribute is found when the kernel objects above the device are others than before. */
function elsewhere(key: string, after: NetShadow, now: ReadonlyMap<string, string>): string | undefined {
  const [kind, ...rest] = key.split('.');
  // Without a shadow interface, the direct device's link state is the link state.
  if (kind === 'lower' && !after.lower && after.hardware) return now.get(`link.${rest.join('.')}`);
  // Not an attribute, since it cannot be changed; but it may have the right value.
  if (kind === 'feature') {
    const feature = after.driver?.features.find(({ name }) => featureKey(name) === key);
    if (feature) return feature.on ? 'on' : 'off';
  }
  return undefined;
}

/**
 * Sockets and memberships that nothing was done to and that are not there any more were closed by their programs: that
 * is no loss.
 */
function letGo(key: string, value: string, losses: ReadonlyMap<string, unknown>): string | undefined {
  return /^dependent\.(socket|packet-socket|multicast)\./.test(key) && !losses.has(key) ? value : undefined;
}

/** The program tells only of operations that failed, so those of the plan that it does not name went well. */
function operationsByKey(
  plan: VerifyPlan | undefined,
  results: readonly OperationResult[],
): Map<string, OperationResult[]> {
  const byKey = new Map<string, OperationResult[]>();
  for (const set of ['adopt', 'attach'] as const) {
    for (const { id, attributes } of plan?.sets?.[set] ?? []) {
      const told = results.filter((result) => result.id === id && (result.set ?? 'attach') === set);
      const all = told.length > 0 ? told : [{ id, rc: 0, set }];
      for (const key of attributes) byKey.set(key, [...(byKey.get(key) ?? []), ...all]);
    }
  }
  return byKey;
}

function explain(key: string, value: string, found: string | undefined, context: Context): Outcome {
  const lost = (why: string): Outcome => ({ fate: 'lost', key, value, why });
  // what stands on the interface has the same layers, but no driver
  const own = keyWithin(key);
  const [kind = '', ...rest] = own.split('.');
  const name = rest.join('.');
  const driver = context.after.driver;
  if (SETTINGS[kind] !== undefined || kind === 'feature' || kind === 'lower') {
    if (!driver || !context.after.hardware) return lost('there is no direct device');
  }
  if (kind === 'feature') {
    const instead = value === 'on' ? insteadOf(name, context) : undefined;
    if (instead === undefined || found === undefined) return lost(explainFeature(name, value, context));
    return { fate: 'adapted', key, value, now: found, how: `${context.device} has ${instead} instead` };
  }
  const setting = SETTINGS[kind];
  if (setting !== undefined && driver) {
    const settings = driver[setting.list];
    if (settings.length === 0) return lost(`${context.device} does not report ${setting.what}`);
    const limit = settings.find((one) => one.name === name);
    if (!limit) return lost(`${context.device} has no ${setting.one} "${name}"`);
    if (isAbove(value, limit) && found !== undefined) {
      return { fate: 'adapted', key, value, now: found, how: `${context.device} takes at most ${limit.max}` };
    }
    if (found !== undefined && tookIt(key, context)) {
      return { fate: 'adapted', key, value, now: found, how: `${context.device} made it ${found}` };
    }
  }
  const tuned = driver && tuning(key, found, context);
  if (tuned) return tuned.fate === 'lost' ? lost(tuned.why) : { key, value, ...tuned };
  const max = driver?.maxMtu;
  if (
    (own === 'link.mtu' || own === 'lower.mtu') &&
    max !== undefined &&
    Number(value) > max &&
    found !== undefined
  ) {
    return { fate: 'adapted', key, value, now: found, how: `${context.device} takes at most ${max}` };
  }
  const how = key.endsWith('.xdp') ? xdpAdapted(value, found, context.device) : undefined;
  if (how !== undefined && found !== undefined) return { fate: 'adapted', key, value, now: found, how };
  if (own === 'link.ifindex' && found !== undefined) return lost('the interface was made anew');
  if (kind === 'bond' && context.after.standIn.kind !== 'bond') return lost('there is no bond any more');
  return lost(failure(key, context) ?? (found === undefined ? 'it is not there' : `it is now ${found}`));
}

/** What is known of a further setting of the driver that is not as it was. */
function tuning(key: string, found: string | undefined, context: Context): TuningFate | undefined {
  const { before, after, device } = context;
  const setting = before.driver?.tuning?.find(({ name }) => name === key);
  if (setting === undefined) return undefined;
  const there = { device, tuning: after.driver?.tuning ?? [], layout: after.driver?.layout };
  const fate = tuningFate(setting, there);
  if (fate !== undefined || failure(key, context) !== undefined) return fate;
  if (found === undefined && key.startsWith('media.')) {
    return { fate: 'lost', why: `${device} shows no such setting of its link` };
  }
  if (found === undefined) return undefined;
  return changedFate(setting, found, before.driver, there);
}

/** Kinds of attributes that are the driver's settings. */
const SETTINGS: Record<
  string,
  { list: 'rings' | 'channels' | 'coalesce' | 'pause'; what: string; one: string }
> = {
  ring: { list: 'rings', what: 'ring sizes', one: 'ring' },
  channel: { list: 'channels', what: 'channels', one: 'channel' },
  coalesce: { list: 'coalesce', what: 'interrupt coalescing', one: 'coalescing setting' },
  pause: { list: 'pause', what: 'pause frames', one: 'pause setting' },
};

function isAbove(value: string, limit: Setting): boolean {
  return limit.max !== undefined && Number(value) > Number(limit.max);
}

/** Drivers checksum either whatever they are told to, or the protocols they know. */
const CHECKSUMS = ['tx-checksum-ip-generic', 'tx-checksum-ipv4', 'tx-checksum-ipv6'];

/** What the new device does in place of a checksum offload that it lacks. */
function insteadOf(name: string, { after }: Context): string | undefined {
  const [generic, ...protocols] = CHECKSUMS;
  if (!CHECKSUMS.includes(name)) return undefined;
  const others = name === generic ? protocols : [generic];
  const on = after.driver?.features.filter((feature) => feature.on && others.includes(feature.name)) ?? [];
  return on.length === 0 ? undefined : on.map((feature) => `"${feature.name}"`).join(' and ');
}

function explainFeature(name: string, value: string, context: Context): string {
  const feature = context.after.driver?.features.find((one) => one.name === name);
  if (!feature) return `the kernel does not know feature "${name}" of ${context.device}`;
  const state = feature.on ? 'on' : 'off';
  if (feature.fixed && value === 'on') return `${context.device} has no offload "${name}" (fixed off)`;
  if (feature.fixed) return `${context.device} cannot do without "${name}" (fixed on)`;
  const said = failure(featureKey(name), context);
  if (said !== undefined) return said;
  return tookIt(featureKey(name), context)
    ? `${context.device} left it ${state} when it was turned ${value}`
    : `it is now ${state}`;
}

/** What the last operation that failed on this attribute said. */
function failure(key: string, { operations }: Context): string | undefined {
  const failed = operations.get(key)?.findLast(({ rc }) => rc !== 0);
  if (!failed) return undefined;
  const said = failed.stderr?.trim() ?? '';
  return said === '' ? `the operation failed (exit ${failed.rc})` : `the operation failed: ${said}`;
}

/** Did an operation set this attribute, without an error? Then the device chose another value. */
function tookIt(key: string, { operations }: Context): boolean {
  const ran = operations.get(key) ?? [];
  return ran.length > 0 && ran.every(({ rc }) => rc === 0);
}

export interface Summary {
  captured: number;
  restored: number;
  adapted: number;
  lost: number;
  /** One sentence: `61 of 64 attributes restored, 2 adapted, 1 lost`. */
  text: string;
}

/** Counts outcomes. */
export function summary(outcomes: readonly Outcome[]): Summary {
  const count = (fate: Outcome['fate']) => outcomes.filter((outcome) => outcome.fate === fate).length;
  const [restored, adapted, lost] = [count('restored'), count('adapted'), count('lost')];
  const captured = outcomes.length;
  const text = `${restored} of ${captured} attributes restored, ${adapted} adapted, ${lost === 0 ? 'nothing' : lost} lost`;
  return { captured, restored, adapted, lost, text };
}
