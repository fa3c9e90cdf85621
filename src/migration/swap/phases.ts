/** The phases of a swap, in their order; what each does is journalled with its undo before it acts. */
import { setTimeout as delay } from 'node:timers/promises';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import {
  captureShadow,
  guestFacts,
  installProgram,
  removeProgram,
  requireIproute2,
} from '../../shadow/net/guest.ts';
import { type ManagerReport, YIELD_MS } from '../../shadow/net/manager/manager.ts';
import type { NetShadow, Outcome } from '../../shadow/net/model.ts';
import { chooseContinuity, planReplay, takesNoBond } from '../../shadow/net/plan.ts';
import type { ReplayPlan } from '../../shadow/net/plan-model.ts';
import { programFiles } from '../../shadow/net/program.ts';
import { verify } from '../../shadow/net/verify.ts';
import type { Replayed } from '../destination/destination.ts';
import { awaitManager, GIVING_BACK, TELLING, tellManager } from '../guest-manager.ts';
import { NOTE, type StagedNote } from '../history.ts';
import { knowledgeOf, learn, planOptions, unknownText } from '../knowledge.ts';
import { refuseLosses, trafficWarnings } from '../losses.ts';
import { persistNic, withoutDevice } from '../persist.ts';
import { moveTrafficOff } from '../phases/detach.ts';
import { replayOnto } from '../plug.ts';
import { decide, programDirectory, step, waitAfter, waitBefore, warn } from '../run.ts';
import { captureWithoutDevice, isAlive } from './dead.ts';
import { LET_GO, noteExchange } from './exchange.ts';
import type { SwapRun } from './run.ts';
import { arrivalOf, type SwapSite, type Which } from './site.ts';

const capture = (site: SwapSite, which: Which, signal: AbortSignal): Promise<NetShadow> =>
  captureShadow(site.shell, site.devices[which].identity, site.standby?.pciPath, signal);

/** The shadow that is to be replayed: of the device that is there, or of the one that was. */
async function shadowToReplay(run: SwapRun, signal: AbortSignal): Promise<NetShadow> {
  const { site, request, lastKnown } = run;
  if (request.kind === 'swap') {
    if (!(await site.isPlugged())) {
      const why = 'a swap begins with the device that is there; use "rescue" for one that is gone';
      throw new ShadowferryError('DEVICE_ABSENT', { vm: site.subject, nic: site.nic, why });
    }
    return step(run, 'preflight', 'capture the shadow', {}, () => capture(site, 'old', signal));
  }
  await step(run, 'preflight', 'see that the device is dead', {}, async () => {
    if ((await site.isPlugged()) && (await isAlive(site, signal))) {
      const { id: device } = site.devices.old;
      throw new ShadowferryError('RESCUE_NEEDLESS', { vm: site.subject, nic: site.nic, device });
    }
  });
  if (lastKnown !== undefined) {
    const seen = new Date(lastKnown.seenAtMs).toISOString();
    decide(run, { action: 'last known shadow', reason: `${lastKnown.from}, seen ${seen}` });
    return lastKnown.shadow;
  }
  const left = await step(run, 'preflight', 'capture what is left', {}, () =>
    captureWithoutDevice(site, signal),
  );
  if (left === undefined) {
    throw new ShadowferryError('SHADOW_UNKNOWN', { vm: site.subject, nic: site.nic });
  }
  decide(run, {
    action: 'shadow of what is left',
    reason: 'nobody had looked at the device, but the shadow interface above it stands',
  });
  warn(run, 'the settings of the dead device itself are not known: the new one keeps its own');
  if (left.standIn.kind === 'bond') {
    warn(run, 'static neighbours are not known: a bond that loses its last member forgets them with its MAC');
  }
  return left;
}

/** Everything that must be known before anything is touched. */
export async function preflight(run: SwapRun): Promise<void> {
  const { site, request, facts } = run;
  const signal = waitBefore(run, 'preflight', request.limits.agentMs * 2);
  await site.check(signal);
  if (run.armed !== undefined) return preflightArmed(run, run.armed);
  const guest = await step(run, 'preflight', 'ask the guest what it has', {}, () =>
    guestFacts(site.shell, site.ports.port === undefined ? [] : [site.ports.port], signal),
  );
  requireIproute2(guest);
  if (site.ports.port !== undefined && !guest.ports.includes(site.ports.port)) {
    const how = 'Start the VM with the virtio-serial port that Shadowferry adds; see docs/architecture.md.';
    throw new ShadowferryError('GUEST_LACKS', { what: `the serial port ${site.ports.port}`, how });
  }
  if (!guest.tools.ethtool)
    warn(run, 'there is no ethtool: offloads, rings, queues and coalescing are not captured');
  const shadow = await shadowToReplay(run, signal);
  const { standIn } = shadow;
  if (request.kind === 'rescue' && standIn.kind === 'none') {
    // what stood on the interface went with it: there is nothing to hold or to bridge with any more
    if (request.continuity === 'hold' || request.continuity === 'bridge') {
      const why = 'the device is gone, and there was no shadow interface above it';
      throw new ShadowferryError('CONTINUITY_UNAVAILABLE', { mode: request.continuity, why });
    }
    facts.continuity = 'replay';
    decide(run, { action: 'replay', reason: 'there was no shadow interface above the device that is gone' });
  } else {
    const decision = chooseContinuity(request.continuity, {
      standby: site.standby !== undefined && shadow.standby !== undefined,
      bonding: guest.bonding || standIn.kind === 'bond',
      failover: standIn.kind === 'failover',
      portOf: takesNoBond(shadow),
    });
    decide(run, decision);
    facts.continuity = decision.action;
  }
  const { model, pciId } = site.devices.new;
  const known = knowledgeOf(await run.abilities.all(), shadow, pciId, facts.continuity);
  facts.known = known;
  facts.shadow = shadow;
  const plan = planFor(run, shadow);
  facts.plan = plan;
  if (request.onLoss === 'refuse') refuseLosses({ vm: request.vm, model, plan, known });
  for (const text of [...plan.warnings, ...trafficWarnings(plan)]) warn(run, text);
  const unknown = unknownText(known, model);
  if (unknown !== undefined) warn(run, unknown);
}

/** Everything was found out when the program was armed, and the device is known to be gone: no word with the guest. */
function preflightArmed(run: SwapRun, plan: ReplayPlan): void {
  const { facts, lastKnown } = run;
  if (lastKnown === undefined) throw missing('arming');
  Object.assign(facts, { shadow: lastKnown.shadow, continuity: plan.continuity, plan });
  decide(run, { action: plan.continuity, reason: 'as the program in the guest was armed' });
  for (const text of plan.warnings) warn(run, text);
}

/** The plan that gives the new device the state of the shadow. */
export function planFor({ site, facts }: Pick<SwapRun, 'site' | 'facts'>, shadow: NetShadow): ReplayPlan {
  return planReplay(shadow, {
    continuity: facts.continuity ?? 'replay',
    target: arrivalOf(site.devices.new),
    ...(facts.known === undefined ? {} : planOptions(facts.known)),
  });
}

export async function reserve(run: SwapRun): Promise<void> {
  const { site, request } = run;
  const { old, new: target } = site.devices;
  const { id: device } = target;
  // who finds the swap later must know what is to be let go of
  noteExchange(run.journal, run.id, { nic: site.nic, old, new: target });
  await step(
    run,
    'reserve',
    'claim the device',
    { undo: [{ kind: 'release-device', host: site.host, device }] },
    () => site.claim('new'),
  );
  await step(run, 'reserve', 'make the device ready', { undo: [{ kind: 'unprepare-device', device }] }, () =>
    site.prepare(waitBefore(run, `making ${device} ready`, request.limits.agentMs)),
  );
}

/** Puts the program and its plans where the interface is, and waits until it listens. */
export async function install(
  site: SwapSite,
  plans: { destination: ReplayPlan; source: ReplayPlan },
  signal: AbortSignal,
): Promise<void> {
  const dir = programDirectory(site.nic);
  const ready = site.channel.waitFor((event) => event.e === 'ready', signal);
  const { old, new: target } = site.devices;
  await installProgram(site.shell, {
    dir,
    files: programFiles({ dir, ...site.ports, ...plans }),
    modules: [target.module, old.module].filter((module) => module !== undefined),
    signal,
  });
  await ready;
}

/** Tells the network manager of whoever has the interface, so that it does not fight the replay. */
function yieldToReplay(run: SwapRun, plan: ReplayPlan): Promise<ManagerReport> {
  const { site } = run;
  const { nic, standby, devices } = site;
  return step(run, 'stage', TELLING, { undo: [{ kind: 'give-interface-back', nic }] }, () =>
    tellManager(
      run,
      site.shell,
      { nic, plan, standbyPciPath: standby?.pciPath, alsoPciPath: devices.old.identity.pciPath },
      waitBefore(run, 'the network manager', YIELD_MS),
    ),
  );
}

export async function stage(run: SwapRun): Promise<void> {
  const { site, request, facts } = run;
  const { continuity } = facts;
  const raise = async () => {
    if (continuity !== 'bridge' || !site.standby?.manageLink) return;
    const undo = [{ kind: 'standby-link-down', nic: site.nic } as const];
    await step(run, 'stage', 'raise the standby', { undo }, () => site.standbyLink(true));
  };
  // after the manager was told, as with a link the standby would get addresses of its own; but at once where traffic
  // waits for it: the standby of a device that died is below a shadow interface already
  const first = request.kind === 'rescue';
  if (first) await raise();
  let { shadow, plan } = facts;
  if (request.kind === 'swap') {
    const signal = waitBefore(run, 'capturing the shadow', request.limits.agentMs);
    shadow = await step(run, 'stage', 'capture the shadow', {}, () => capture(site, 'old', signal));
    remember(run, shadow);
    plan = planFor(run, shadow);
  }
  if (shadow === undefined || plan === undefined) throw missing('preflight');
  Object.assign(facts, { shadow, plan });
  // who finds the subject without its device later must know what the device had
  run.journal.note(run.id, NOTE.staged, JSON.stringify({ nic: site.nic, shadow, plan } satisfies StagedNote));
  // a watch cannot tell it beforehand: it may be long until the device dies
  if (run.armed === undefined) facts.manager = await yieldToReplay(run, plan);
  if (!first) await raise();
  if (run.armed !== undefined) return;
  const source = planReplay(shadow, { continuity: plan.continuity, target: arrivalOf(site.devices.old) });
  const destination = plan;
  await step(
    run,
    'stage',
    'put the program into the guest',
    { undo: [{ kind: 'remove-program', nic: site.nic }] },
    () =>
      install(
        site,
        { destination, source },
        waitBefore(run, 'starting the program in the guest', request.limits.agentMs),
      ),
  );
}

/** Keeps a captured shadow for later; nothing depends on it. */
function remember(run: SwapRun, shadow: NetShadow): void {
  try {
    run.shadows?.record(run.site.subject, run.site.nic, shadow, run.request.kind);
  } catch (error) {
    warn(run, `the shadow was not kept: ${reasonOf(error)}`);
  }
}

const missing = (phase: string) => new ShadowferryError('INTERNAL', { why: `${phase} left nothing` });

/** Lets the host answer for the interface; it helps, and nothing depends on it. */
function startAnswering(run: SwapRun): void {
  const addresses = (run.facts.shadow?.addresses ?? [])
    .filter(({ scope }) => scope === 'global')
    .map(({ local }) => local);
  if (addresses.length === 0) return;
  run.site
    .answer(addresses)
    .catch((error: unknown) => warn(run, `${run.site.host} does not answer meanwhile: ${reasonOf(error)}`));
}

export async function detach(run: SwapRun): Promise<void> {
  const { site, request, timeline, facts } = run;
  const bridged = facts.plan?.continuity === 'bridge';
  const mark = (name: string, at?: number) => timeline.mark(name, at);
  const nic = site.nic;
  // a rescue has no device to go back to
  const undo =
    request.kind === 'rescue'
      ? ([{ kind: 'stop-answering', nic }] as const)
      : ([
          { kind: 'stop-answering', nic },
          { kind: 'reattach', nic },
        ] as const);
  await step(run, 'detach', 'release and unplug the device', { undo, critical: !bridged }, async () => {
    run.journal.relax(); // from here until the attach traffic waits, or may
    if (request.kind === 'swap') {
      facts.leaving = true;
      await moveTrafficOff({
        channel: site.channel,
        signal: waitBefore(run, 'moving traffic off the device', request.limits.agentMs),
        mark,
        warn: (text) => warn(run, text),
      });
    }
    if (!bridged) startAnswering(run);
    if (request.kind === 'swap' || (await site.isPlugged())) {
      await site.unplug('old', waitBefore(run, 'the unplug', request.limits.unplugMs));
    }
    facts.unplugged = true;
    mark('device gone');
  });
}

async function plugOnce(run: SwapRun, plan: ReplayPlan): Promise<Replayed> {
  const { site, request, timeline } = run;
  return replayOnto({
    channel: site.channel,
    waitMs: request.limits.attachMs,
    cancel: run.cancel,
    mark: (name, at) => timeline.mark(name, at),
    plug: () => site.plug('new'),
    onActive: async () => {
      // one MAC on one port: the standby's way must be shut before the switch hears it again
      if (plan.continuity === 'bridge' && site.standby?.manageLink) await site.standbyLink(false);
      await site.announce('new');
    },
    onCarrier: () => void site.answer([]).catch(() => {}), // and once more below
  });
}

/** A swap has the old device at hand, and goes back to it at the first failure; a rescue tries again. */
export async function attach(run: SwapRun): Promise<void> {
  const { site, request, facts } = run;
  const { plan } = facts;
  if (plan === undefined) throw missing('stage');
  const { attachTries, attachMs, unplugMs } = request.limits;
  const tries = request.kind === 'rescue' ? attachTries : 1;
  const critical = plan.continuity !== 'bridge';
  await step(run, 'attach', 'plug and replay', { critical }, async () => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        facts.results = (await plugOnce(run, plan)).results;
        return;
      } catch (error) {
        if (attempt >= tries || run.cancel.aborted) throw error;
        warn(run, `attach failed (${reasonOf(error)}), trying again`);
        if (await site.isPlugged()) {
          await site.unplug('new', waitAfter('the unplug', Math.max(attachMs, unplugMs)));
        }
        await delay(200 * 2 ** attempt);
      }
    }
  });
}

/** Stops the program and removes it. */
export async function endProgram(site: SwapSite, waitMs: number): Promise<void> {
  const signal = waitAfter('the end of the program', waitMs);
  const stopped = site.channel.waitFor((event) => event.e === 'stopped', signal);
  site.channel.send('stop');
  // a program that never started cannot say that it stopped; its files go all the same
  await Promise.race([stopped, removeProgram(site.shell, programDirectory(site.nic), signal)]);
  await removeProgram(site.shell, programDirectory(site.nic), signal);
}

export async function settle(run: SwapRun): Promise<Outcome[]> {
  const { site, request, facts } = run;
  run.journal.strict();
  await site.answer([]).catch((error: unknown) => warn(run, reasonOf(error)));
  await step(run, 'settle', LET_GO, {}, async () => {
    await site.record();
    await site.release('old');
    if (facts.results !== undefined && site.farewell !== undefined) warn(run, site.farewell);
  });
  const { shadow, plan, results } = facts;
  // without its device the program waits on, for a device that comes later
  if (results === undefined || shadow === undefined || plan === undefined) {
    if (request.persist) warn(run, withoutDevice(site.nic));
    return [];
  }
  const { manager } = facts;
  if (manager !== undefined)
    await step(run, 'settle', GIVING_BACK, {}, () => awaitManager(run, site.shell, site.nic, manager));
  const waitMs = request.limits.agentMs;
  const after = await step(run, 'settle', 'compare with the shadow', {}, () =>
    capture(site, 'new', waitAfter('the capture of the new device', waitMs)),
  );
  facts.after = after;
  remember(run, after);
  // worth having, and no reason to call a good swap degraded
  await learn(run.abilities, site.shell, {
    ...{ dir: programDirectory(site.nic), plan, identity: site.devices.new.identity, after },
    signal: waitAfter('what the device was before anything was set', waitMs),
  }).catch((error: unknown) => warn(run, `what this device can do was not kept: ${reasonOf(error)}`));
  await step(run, 'settle', 'remove the program', {}, () => endProgram(site, waitMs));
  if (request.persist) {
    const { shell, nic } = site;
    facts.persisted = await persistNic(run, { shell, shadow: after, nic, several: false });
  }
  return verify(shadow, after, plan, results);
}
