/**
 * Watches over one device: its state and the plan for a spare are put into the guest while all is well, and when the
 * device dies the spare takes its place without anybody being asked. Only for those who asked for that beforehand.
 */
import { deadline } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import { captureShadow } from '../../shadow/net/guest.ts';
import type { NetShadow } from '../../shadow/net/model.ts';
import { planReplay } from '../../shadow/net/plan.ts';
import type { Continuity, ReplayPlan } from '../../shadow/net/plan-model.ts';
import { changesBetween, comparedOf } from '../../shadow/store/changes.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import type { MigrationEvent } from '../events.ts';
import type { Journal } from '../journal.ts';
import { knowledgeOf, planOptions } from '../knowledge.ts';
import type { MigrationResult } from '../result.ts';
import { swapDevice } from './engine.ts';
import { endProgram, install } from './phases.ts';
import type { SwapRequest } from './request.ts';
import { arrivalOf, type SwapSite } from './site.ts';

export interface GuardOptions {
  /** Of kind `rescue`. */
  request: SwapRequest;
  site: SwapSite;
  journal: Journal;
  abilities: AbilityStore;
  shadows?: ShadowStore | undefined;
  /** How often the state is looked at anew, ms: what changed since is not restored. */
  refreshMs: number;
  emit: (event: MigrationEvent) => void;
  say: (line: string) => void;
  /** Ends the watch; during a rescue it cancels that. */
  signal: AbortSignal;
}

interface Armed {
  shadow: NetShadow;
  plan: ReplayPlan;
  seenAtMs: number;
}

/** What can survive a device that goes without a word: what stands above it must stand already. */
export function continuityWhenGone(shadow: NetShadow): Continuity {
  switch (shadow.standIn.kind) {
    case 'none':
      return 'replay';
    case 'bond':
      return shadow.standby === undefined ? 'hold' : 'bridge';
    case 'failover':
      return 'bridge';
    default:
      return shadow.standIn satisfies never;
  }
}

class Guard {
  readonly #options: GuardOptions;
  #armed: Armed | undefined;

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** Looks at the device, and puts what is new into the guest. */
  async arm(): Promise<Armed> {
    const { site, request, abilities, shadows, say, signal } = this.#options;
    const limit = deadline('arming the program in the guest', 2 * request.limits.agentMs, signal);
    const { old, new: spare } = site.devices;
    const shadow = await captureShadow(site.shell, old.identity, site.standby?.pciPath, limit);
    shadows?.record(site.subject, site.nic, shadow, 'rescue');
    const seenAtMs = Date.now();
    const before = this.#armed;
    if (before !== undefined) {
      const changes = changesBetween(comparedOf(before.shadow), comparedOf(shadow));
      if (changes.length === 0) {
        this.#armed = { ...before, seenAtMs };
        return this.#armed;
      }
      say(`${changes.length} attributes have changed.`);
    }
    const continuity = continuityWhenGone(shadow);
    const known = knowledgeOf(await abilities.all(), shadow, spare.pciId, continuity);
    const destination = planReplay(shadow, { continuity, target: arrivalOf(spare), ...planOptions(known) });
    const source = planReplay(shadow, { continuity, target: arrivalOf(old) });
    await install(site, { destination, source }, limit);
    this.#armed = { shadow, plan: destination, seenAtMs };
    say(`${site.nic} of ${site.subject}: ${spare.id} (${spare.model}) stands by, continuity ${continuity}.`);
    return this.#armed;
  }

  /** Resolves with why the device counts as dead, or with undefined after `refreshMs`. */
  async gone(): Promise<string | undefined> {
    const { site, refreshMs, signal } = this.#options;
    const over = new AbortController();
    const until = AbortSignal.any([signal, over.signal]);
    const { promise: later, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, refreshMs, undefined);
    const told = site.channel
      .waitFor((event) => event.e === 'gone', until)
      .then(() => 'the guest has lost its interface');
    const seen = site.vanished(until);
    try {
      return await Promise.race([told, seen, later]);
    } finally {
      clearTimeout(timer);
      over.abort();
      for (const loose of [told, seen]) loose.catch(() => {});
    }
  }

  async rescue({ shadow, plan, seenAtMs }: Armed): Promise<MigrationResult> {
    const { request, site, journal, abilities, shadows, emit, signal } = this.#options;
    // at once, before anything is asked: the standby carries the traffic from here on
    if (plan.continuity === 'bridge' && site.standby?.manageLink) await site.standbyLink(true);
    const lastKnown = { shadow, from: 'watched', seenAtMs };
    const given = { site, journal, abilities, shadows, emit, cancel: signal, lastKnown, armed: plan };
    return swapDevice(request, given);
  }

  /** Takes everything back that was made ready. */
  async disarm(): Promise<void> {
    const { site, request, say } = this.#options;
    await endProgram(site, request.limits.agentMs).catch((error: unknown) =>
      say(`The program was not removed from the guest: ${reasonOf(error)}`),
    );
    await site.unprepare();
    await site.release('new');
  }
}

/**
 * Watches until the device dies and the spare has its place, or until the signal aborts.
 * @returns what became of the rescue; undefined when there was none
 * @throws what arming throws; nothing is left then
 */
export async function guardDevice(options: GuardOptions): Promise<MigrationResult | undefined> {
  const { site, signal, say } = options;
  const guard = new Guard(options);
  await site.check(signal);
  await site.claim('new');
  let armed: Armed;
  try {
    await site.prepare(signal);
    armed = await guard.arm();
  } catch (error) {
    await guard.disarm();
    throw error;
  }
  while (!signal.aborted) {
    let why: string | undefined;
    try {
      why = await guard.gone();
      if (why === undefined) {
        armed = await guard.arm();
        continue;
      }
    } catch (error) {
      if (signal.aborted) break;
      // a guest that does not answer now is armed all the same, with what was seen last
      say(`The device could not be looked at: ${reasonOf(error)}`);
      const lacking = error instanceof ShadowferryError && error.code === 'GUEST_LACKS';
      if (!lacking && (await site.isPlugged())) continue;
      why = reasonOf(error);
    }
    say(`${site.devices.old.id} of ${site.subject} died: ${why}.`);
    const result = await guard.rescue(armed);
    // its own steps are undone; what was armed before it is not among them
    if (result.ending === 'rolled-back') await guard.disarm();
    return result;
  }
  await guard.disarm();
  return undefined;
}
