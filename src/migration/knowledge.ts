/** What is known of both devices of one NIC before anything moves, for its plan. Decisions, pure but for the store. */
import type { GuestShell } from '../guest/shell.ts';
import { type AbilityStore, abilitiesOf, knownDevice, versionOf } from '../shadow/net/abilities.ts';
import { freshShadow } from '../shadow/net/guest.ts';
import type { DeviceAbilities, DeviceIdentity, NetShadow } from '../shadow/net/model.ts';
import type { PlanOptions } from '../shadow/net/plan.ts';
import type { Continuity, ReplayPlan } from '../shadow/net/plan-model.ts';
import { learns } from '../shadow/net/program.ts';

export interface Knowledge {
  /** What the new device can do, where one like it was seen before. */
  abilities: DeviceAbilities | undefined;
  /** It was seen under the same version of its driver. */
  exact: boolean;
  /** What the old device's driver begins with, by key of the attribute. */
  defaults: Readonly<Record<string, string>> | undefined;
  /** The new device is to be looked at before anything is set on it. */
  learn: boolean;
}

/**
 * Puts together what is known for the plan of one NIC.
 * A device of the same kind as the old one can do what the old one can. What the new driver begins with is learned
 * where that costs no traffic: in `bridge`, once for each kind of device and version of its driver.
 */
export function knowledgeOf(
  all: readonly DeviceAbilities[],
  shadow: NetShadow,
  pciId: string | undefined,
  continuity: Continuity,
): Knowledge {
  const { hardware } = shadow;
  const alike = hardware?.pciId === pciId;
  const version =
    hardware !== undefined && alike ? { exactly: versionOf(hardware) } : { kernel: hardware?.kernel ?? '' };
  const known = pciId === undefined ? undefined : knownDevice(all, pciId, version);
  const own = hardware && knownDevice(all, hardware.pciId, { exactly: versionOf(hardware) });
  const seen = known?.exact ? known.abilities : undefined;
  const abilities = alike ? { ...seen, ...abilitiesOf(shadow) } : known?.abilities;
  return {
    abilities: isWhole(abilities) ? abilities : known?.abilities,
    exact: alike || known?.exact === true,
    defaults: own?.exact === true ? own.abilities.defaults : undefined,
    learn: continuity === 'bridge' && seen?.defaults === undefined,
  };
}

const isWhole = (abilities: Partial<DeviceAbilities> | undefined): abilities is DeviceAbilities =>
  abilities?.pciId !== undefined;

/** Options of a plan that follow from what is known. */
export function planOptions({ abilities, defaults, learn }: Knowledge): Omit<PlanOptions, 'continuity'> {
  return {
    ...(abilities === undefined ? {} : { abilities }),
    ...(defaults === undefined ? {} : { defaults }),
    learn,
  };
}

/** What a user is told before anything moves; undefined where everything is known. */
export function unknownText({ abilities, exact }: Knowledge, model: string): string | undefined {
  if (abilities === undefined)
    return `no ${model} was seen before: what it cannot do is known only after the attach (${ASK})`;
  return exact
    ? undefined
    : `a ${model} was seen before, but under another driver or kernel: what it cannot do here may be something else`;
}

const ASK = '"shadowferry devices learn" asks one that is free beforehand';

/** Remembers what a replay has shown of a device: what it can do, and, where it was looked at first, what it begins with. */
export async function learn(
  store: AbilityStore,
  shell: GuestShell,
  facts: { dir: string; plan: ReplayPlan; identity: DeviceIdentity; after: NetShadow; signal: AbortSignal },
): Promise<void> {
  const { dir, plan, identity, after, signal } = facts;
  const learned = abilitiesOf(after);
  if (learned === undefined) return;
  const fresh = learns(plan) ? await freshShadow(shell, dir, identity, signal) : undefined;
  const defaults = fresh && abilitiesOf(fresh, true)?.defaults;
  await store.remember({ ...learned, ...(defaults === undefined ? {} : { defaults }) });
}
