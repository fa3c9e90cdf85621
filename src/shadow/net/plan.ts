/**
 * The replay plan: what gives a new device the state of the shadow. Pure: it is made on the source, shown to the
 * user, kept in the journal, and compiled for the guest.
 */
import { ShadowferryError } from '../../errors.ts';
import { defaultsThere, untouchedOf } from './baseline.ts';
import { loseDependents } from './dependents/fate.ts';
import type { DeviceAbilities, NetShadow } from './model.ts';
import { draft, type Findings, noFindings, numbered } from './plan-draft.ts';
import type { Continuity, ReplayPlan } from './plan-model.ts';
import { adoptSet, attachSet, givebackSet, leaveSet, type PlanContext } from './plan-sets.ts';

export interface PlanOptions {
  continuity: Continuity;
  /** What the destination's device can do, where one like it was seen before. */
  abilities?: DeviceAbilities;
  /**
   * Identity of the device that will arrive, where it is not the shadow's own. A device that may come with one of
   * several MACs (its permanent one, or that which it was given) has them separated by blanks.
   */
  target?: { mac?: string; pciPath?: string };
  /** What the shadow's own kind of device begins with, by key: what has such a value, nobody chose. */
  defaults?: Readonly<Record<string, string>>;
  /** The new device is looked at before anything is set on it, as it is the first of its kind. */
  learn?: boolean;
  /** With `adopt`: the direct device goes into the shadow interface at once, as nothing migrates. */
  enslaveNow?: boolean;
}

/** Longest interface name, in bytes. */
const MAX_NAME = 15;

/** `name` cut so that `suffix` fits behind it; never one of `taken`. */
export function nameWith(name: string, suffix: string, taken: readonly string[]): string {
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  for (const ending of [suffix, `${suffix}2`, `${suffix}3`, `${suffix}4`]) {
    let stem = Array.from(name);
    while (bytes(stem.join('')) + bytes(ending) > MAX_NAME) stem = stem.slice(0, -1);
    const result = stem.join('') + ending;
    if (!taken.includes(result)) return result;
  }
  throw new ShadowferryError('INTERNAL', { why: `no free name for ${name}${suffix}` });
}

function namesFor(shadow: NetShadow, standIn: PlanContext['standIn']): PlanContext['names'] {
  const name = shadow.link.name;
  const taken = [name, ...(shadow.standby === undefined ? [] : [shadow.standby.name])];
  const present = shadow.standIn.kind === 'none' ? undefined : (shadow.hardware?.name ?? shadow.lower?.name);
  const direct = standIn === 'none' ? name : (present ?? nameWith(name, '-d', taken));
  return { interface: name, direct, temporary: nameWith(name, '-b', [...taken, direct]) };
}

function warn(context: PlanContext, options: PlanOptions, found: Findings): void {
  const { shadow, names } = context;
  const lostWithIndex =
    shadow.dependents === undefined
      ? ': sockets bound to it (SO_BINDTODEVICE) and multicast memberships of programs, which were not looked for, are lost'
      : '';
  if (context.adopting) {
    found.warnings.push(`${names.interface} becomes a shadow interface with a new index${lostWithIndex}`);
  }
  if (context.standIn === 'none') {
    found.warnings.push(`${names.interface} disappears and comes back with a new index${lostWithIndex}`);
    if (shadow.addresses.some((a) => a.family === 'inet' && a.state.includes('dynamic'))) {
      found.warnings.push(
        `${names.interface} has an address from DHCP: the guest's DHCP client may let go of the interface while it is away`,
      );
    }
  }
  if (context.adopting || context.standIn === 'none') loseDependents(shadow, found, context.adopting);
  if (shadow.standIn.kind === 'bond') {
    const mode = shadow.standIn.options.mode;
    if (mode !== undefined && !mode.startsWith('active-backup')) {
      found.warnings.push(
        `${names.interface} is a bond in mode ${mode}: traffic is not moved before the device leaves`,
      );
    }
  }
  if (shadow.standIn.kind !== 'none' && options.continuity === 'replay') {
    found.warnings.push(
      `${names.interface} is a shadow interface already, so it stays: more survives than asked for`,
    );
  }
}

function identity(shadow: NetShadow, target: PlanOptions['target']): ReplayPlan['match'] {
  const mac = target?.mac ?? shadow.hardware?.mac;
  const pciPath = target?.pciPath ?? shadow.hardware?.pciPath;
  if (mac === undefined || pciPath === undefined) {
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'device',
      problem: 'it is away, so the MAC and the PCI path of the one to come must be given',
    });
  }
  return { mac, pciPath };
}

/**
 * Plans the replay of a shadow. Knows nothing of the guest but the shadow.
 * @throws ShadowferryError CONTINUITY_UNAVAILABLE when `bridge` is wanted without a standby, INPUT_FIELD when neither
 * the shadow nor `target` says which device will come.
 */
export function planReplay(shadow: NetShadow, options: PlanOptions): ReplayPlan {
  const kind = shadow.standIn.kind;
  const bridged = options.continuity === 'bridge';
  if (bridged && kind !== 'failover' && shadow.standby === undefined) {
    throw new ShadowferryError('CONTINUITY_UNAVAILABLE', {
      mode: 'bridge',
      why: 'the guest has no standby for this device',
    });
  }
  const portOf = takesNoBond(shadow);
  if (portOf !== undefined && kind === 'none' && options.continuity !== 'replay') {
    throw new ShadowferryError('CONTINUITY_UNAVAILABLE', {
      mode: options.continuity,
      why: `the interface is a port of ${portOf}, which takes no shadow interface as a port`,
    });
  }
  const standIn = kind === 'none' ? (options.continuity === 'replay' ? 'none' : 'bond') : kind;
  const untouched = untouchedOf(shadow, options.defaults);
  const match = identity(shadow, options.target);
  const context: PlanContext = {
    shadow,
    standIn,
    adopting: kind === 'none' && standIn === 'bond',
    standby: bridged ? shadow.standby : undefined,
    enslaveNow: options.enslaveNow ?? false,
    arriving: match.mac,
    abilities: options.abilities,
    untouched: new Set(untouched),
    pciPath: match.pciPath,
    names: namesFor(shadow, standIn),
  };
  const found = noFindings();
  const learning = options.learn ? [draft('prepare', 'tune', ['learn', match.mac, match.pciPath])] : [];
  const attach = numbered([...learning, ...attachSet(context, found)]);
  found.adaptations.push(...defaultsThere(shadow, untouched, options.abilities));
  // what the addresses lose is found by both sets that carry them: told once
  const adopt = numbered(adoptSet(context, standIn === 'none' ? noFindings() : found));
  warn(context, options, found);
  return {
    schema: 1,
    continuity:
      kind === 'failover'
        ? 'bridge'
        : kind === 'bond' && options.continuity === 'replay'
          ? 'hold'
          : options.continuity,
    standIn,
    match,
    deviceName: context.names.direct,
    interfaceName: context.names.interface,
    ...(context.standby === undefined ? {} : { standbyName: context.standby.name }),
    sets: { adopt, leave: numbered(leaveSet(context)), attach, giveback: numbered(givebackSet(context)) },
    ...found,
    untouched,
  };
}

/** What a guest offers for continuity. */
export interface ContinuityFacts {
  /** The VM has a standby for this device, and the guest drives it. */
  standby: boolean;
  /** The guest can make a bond, or has one over the device. */
  bonding: boolean;
  /** The device is the primary of a failover (net_failover) of the guest. */
  failover: boolean;
  /** What the interface is a port of, where that takes no bond as a port: `bond lag0`. */
  portOf?: string | undefined;
}

/** Masters that take no bond: a port of theirs can be made again, but nothing can be put between. */
export function takesNoBond({ link }: NetShadow): string | undefined {
  const { master } = link;
  return master !== undefined && ['bond', 'team'].includes(master.kind)
    ? `${master.kind} ${master.name}`
    : undefined;
}

export interface ContinuityDecision {
  action: Continuity;
  reason: string;
}

function missingFor(mode: Continuity, facts: ContinuityFacts): string | undefined {
  if (facts.failover) {
    return mode === 'bridge' ? undefined : "the guest's kernel pairs the device with its standby by itself";
  }
  if (mode === 'replay') return undefined;
  if (facts.portOf !== undefined) {
    return `the interface is a port of ${facts.portOf}, which takes no shadow interface as a port`;
  }
  if (!facts.bonding) return 'the guest has no bonding (kernel module "bonding")';
  if (mode === 'bridge' && !facts.standby) return 'the VM has no standby for this device';
  return undefined;
}

/**
 * Chooses how much survives while there is no device.
 * @throws ShadowferryError CONTINUITY_UNAVAILABLE when the user asks for what the guest does not offer.
 */
export function chooseContinuity(requested: 'auto' | Continuity, facts: ContinuityFacts): ContinuityDecision {
  if (requested !== 'auto') {
    const why = missingFor(requested, facts);
    if (why !== undefined) throw new ShadowferryError('CONTINUITY_UNAVAILABLE', { mode: requested, why });
    return { action: requested, reason: 'asked for' };
  }
  if (facts.failover)
    return { action: 'bridge', reason: 'the guest pairs the device with its standby itself' };
  const noBridge = missingFor('bridge', facts);
  if (noBridge === undefined) {
    return { action: 'bridge', reason: 'a standby carries the traffic while the device is away' };
  }
  const noHold = missingFor('hold', facts);
  if (facts.portOf !== undefined && noHold !== undefined) {
    return { action: 'replay', reason: `${noHold}; the other ports carry the traffic meanwhile` };
  }
  if (noHold === undefined)
    return { action: 'hold', reason: `${noBridge}, so the interface is held without traffic` };
  return { action: 'replay', reason: `${noHold}, so the interface is made again` };
}
