/** Preflight: ask both sides what they have, match devices, compile the plan. Changes nothing anywhere. */
import { together } from '../../base/together.ts';
import { ShadowferryError } from '../../errors.ts';
import { guestPciPath, type ModelIdentity, modelIdentity } from '../../hypervisor/qemu/pci.ts';
import { channelPorts, nicIds } from '../../hypervisor/qemu/spec.ts';
import {
  calcDirtyRate,
  queryMigrate,
  queryMigrateCapabilities,
  queryStatus,
} from '../../hypervisor/qmp/commands.ts';
import { chooseStrategy, precopyFault, type StrategyDecision } from '../../memory/strategy/choose.ts';
import { optionsOf } from '../../memory/strategy/options.ts';
import type { Ownership } from '../../ownership/store.ts';
import { CaptureMemory } from '../../shadow/net/capture-memory.ts';
import { captureShadow, type GuestFacts, guestFacts, requireIproute2 } from '../../shadow/net/guest.ts';
import type { DeviceIdentity, NetShadow } from '../../shadow/net/model.ts';
import { chooseContinuity, planReplay, takesNoBond } from '../../shadow/net/plan.ts';
import { Continuity, type ReplayPlan } from '../../shadow/net/plan-model.ts';
import { withWanted } from '../../shadow/net/wanted.ts';
import type { DiskMove } from '../../storage/model.ts';
import { planDisks } from '../disks.ts';
import { type Knowledge, knowledgeOf, planOptions, unknownText } from '../knowledge.ts';
import { refuseLosses, trafficWarnings } from '../losses.ts';
import { decide, type NicMove, nicStep, type Run, step, waitBefore, warn } from '../run.ts';

/** What is known of one NIC that moves. */
export interface NicPreflight {
  move: NicMove;
  identity: DeviceIdentity;
  standbyPciPath: string | undefined;
  shadow: NetShadow;
  continuity: Continuity;
  /** What is known of both devices. */
  known: Knowledge;
  plan: ReplayPlan;
  /** The source's own device, for a rollback and for its driver. */
  sourceModel: ModelIdentity;
  /** The guest's virtio-serial port for its program. */
  port: string;
  /** What the driver need not be asked again. */
  memory: CaptureMemory;
}

export interface Preflight {
  owned: Ownership;
  guest: GuestFacts;
  /** In the order of `Run.nics`. */
  nics: readonly NicPreflight[];
  /** The least that any NIC has. */
  continuity: Continuity;
  /** Those that move, in the order of the spec. */
  disks: readonly DiskMove[];
  strategy: 'precopy' | 'postcopy';
  postcopyAllowed: boolean;
  postcopyPreempt: boolean;
  /** The guest may be slowed down, and both QEMUs can do it. */
  throttleOffered: boolean;
}

/** @throws NOT_OWNER when another host owns the VM */
export async function checkOwner(run: Pick<Run, 'source' | 'ownership'>): Promise<Ownership> {
  const { name } = run.source.qemu.spec;
  const host = run.source.host.name;
  const owned = await run.ownership.read(name);
  if (owned === undefined || owned.owner !== host) {
    throw new ShadowferryError('NOT_OWNER', {
      vm: name,
      host,
      owner: owned?.owner ?? 'nobody',
      epoch: owned?.epoch ?? 0,
    });
  }
  return owned;
}

/** @throws INPUT_FIELD when the VM does not run, MIGRATION_BUSY when another program migrates it */
export async function checkRunning(run: Pick<Run, 'source'>): Promise<void> {
  const { status, running } = await queryStatus(run.source.qemu.monitor);
  if (!running)
    throw new ShadowferryError('INPUT_FIELD', { field: 'vm', problem: `is not running but "${status}"` });
  const { status: copying } = await queryMigrate(run.source.qemu.monitor);
  if (['active', 'setup', 'pre-switchover', 'postcopy-active', 'device'].includes(copying)) {
    throw new ShadowferryError('MIGRATION_BUSY', {
      vm: run.source.qemu.spec.name,
      id: `started by another program, "${copying}"`,
    });
  }
}

interface Postcopy {
  supported: boolean;
  reason: string;
  /** Pages that a vCPU waits for have a connection of their own, past the pages that are only on their way. */
  preempt: boolean;
  /** Both QEMUs can slow the guest down. */
  throttle: boolean;
}

/** Whether post-copy may be used: both QEMUs offer it, and the destination's kernel lets its QEMU take page faults. */
async function askPostcopy(run: Run, signal: AbortSignal): Promise<Postcopy> {
  const source = await queryMigrateCapabilities(run.source.qemu.monitor);
  const { postcopy, capabilities } = await run.destination.receiving(signal);
  const throttle = source.has('auto-converge') && capabilities.includes('auto-converge');
  if (!source.has('postcopy-ram') || !source.has('pause-before-switchover')) {
    return { supported: false, reason: "the source's QEMU offers no post-copy", preempt: false, throttle };
  }
  const preempt = source.has('postcopy-preempt') && capabilities.includes('postcopy-preempt');
  return { ...postcopy, preempt, throttle };
}

function strategyFor(
  run: Run,
  continuity: Continuity,
  postcopy: { supported: boolean; reason: string },
): 'precopy' | 'postcopy' {
  const fault = precopyFault(run.source.host.qemu.accelerator, run.source.qemu.monitor.version);
  const decision: StrategyDecision = chooseStrategy(run.request.strategy, {
    continuity,
    postcopy: postcopy.supported,
    postcopyMissing: postcopy.reason,
    devicePinsMemory: false,
    precopyFault: fault,
  });
  decide(run, decision);
  if (decision.action === 'precopy' && fault !== undefined) warn(run, fault);
  if (decision.action !== 'refuse') return decision.action;
  const { major, minor } = run.source.qemu.monitor.version;
  throw new ShadowferryError('CAPABILITY_MISSING', {
    version: `${major}.${minor}`,
    capability: `post-copy (${decision.reason})`,
  });
}

/** Names the NIC before a text about it, where there are several. */
const about = (run: Run, { nic }: NicMove, text: string) =>
  run.nics.length > 1 ? `${nic.id}: ${text}` : text;

function continuityFor(run: Run, move: NicMove, shadow: NetShadow, guest: GuestFacts): Continuity {
  const { request } = run;
  const decision = chooseContinuity(request.continuityOf[move.nic.id] ?? request.continuity, {
    standby: move.nic.standby !== 'none' && shadow.standby !== undefined,
    bonding: guest.bonding || shadow.standIn.kind === 'bond',
    failover: shadow.standIn.kind === 'failover',
    portOf: takesNoBond(shadow),
  });
  decide(run, { action: decision.action, reason: about(run, move, decision.reason) });
  return decision.action;
}

/** What the sum of several NICs is called: the mode of the one that keeps least. */
export function leastContinuity(modes: readonly Continuity[]): Continuity {
  return Continuity.options.find((mode) => modes.includes(mode)) ?? 'bridge';
}

async function askGuest(run: Run, signal: AbortSignal): Promise<GuestFacts> {
  const ports = channelPorts(run.source.qemu.spec, run.source.qemu.directory);
  const guest = await step(run, 'preflight', 'ask the guest what it has', {}, () =>
    guestFacts(
      run.source.agent,
      ports.map(({ guestPath }) => guestPath),
      signal,
    ),
  );
  requireIproute2(guest);
  const missing = ports.find(({ guestPath }) => !guest.ports.includes(guestPath));
  if (missing !== undefined) {
    const how = 'Start the VM with the virtio-serial ports that Shadowferry adds; see docs/architecture.md.';
    throw new ShadowferryError('GUEST_LACKS', { what: `the serial port ${missing.name}`, how });
  }
  if (!guest.tools.ethtool)
    warn(run, 'the guest has no ethtool: offloads, rings, queues and coalescing are not captured');
  return guest;
}

async function nicPreflight(
  run: Run,
  move: NicMove,
  asking: Promise<GuestFacts>,
  signal: AbortSignal,
): Promise<NicPreflight> {
  const { nic, target, model } = move;
  const { monitor, spec, directory } = run.source.qemu;
  const ids = nicIds(nic);
  const identity = { mac: nic.mac, pciPath: await guestPciPath(monitor, ids.directPort) };
  const standbyPciPath = nic.standby === 'none' ? undefined : await guestPciPath(monitor, ids.standbyPort);
  const sourceModel = await modelIdentity({
    binary: run.source.host.qemu.binary,
    machine: spec.machine,
    model: nic.direct.model,
    field: 'vm',
    signal,
  });
  const memory = new CaptureMemory();
  const capturing = nicStep(run, move, 'preflight', 'capture the shadow', {}, () =>
    captureShadow(run.source.agent, identity, standbyPciPath, signal, memory),
  );
  await Promise.allSettled([asking, capturing]);
  const guest = await asking; // what the guest lacks is told first
  const captured = await capturing;
  const shadow = withWanted(captured, nic.wanted);
  const continuity = continuityFor(run, move, shadow, guest);
  const known = knowledgeOf(await run.abilities.all(), captured, model.pciId, continuity);
  const plan = planReplay(shadow, { continuity, ...planOptions(known) });
  if (run.request.onLoss === 'refuse') refuseLosses({ vm: spec.name, model: target.model, plan, known });
  for (const text of [...plan.warnings, ...trafficWarnings(plan)]) warn(run, about(run, move, text));
  const unknown = unknownText(known, target.model);
  if (unknown !== undefined) warn(run, unknown);
  const port = channelPorts(spec, directory).find((each) => each.nic === nic.id)?.guestPath;
  if (port === undefined) throw new ShadowferryError('INTERNAL', { why: `${nic.id} has no serial port` });
  return { move, identity, standbyPciPath, shadow, continuity, known, plan, sourceModel, port, memory };
}

/** How much of its memory the guest changes is known a second later: before the copy begins, as a rule. */
const MEASURE_S = 1;

/** Has QEMU measure it, for the strategy. One that cannot leaves it unknown. */
async function measureChange(run: Run): Promise<void> {
  if (run.request.dryRun || run.request.strategy !== 'auto') return;
  try {
    await calcDirtyRate(run.source.qemu.monitor, MEASURE_S);
  } catch (error) {
    if (!(error instanceof ShadowferryError) || error.code !== 'QMP_REFUSED') throw error;
  }
}

/** Everything that must be known before anything is touched. */
export async function preflight(run: Run): Promise<Preflight> {
  const signal = waitBefore(run, 'preflight', run.request.limits.agentMs * (1 + run.nics.length));
  const owned = await checkOwner(run);
  await checkRunning(run);
  await measureChange(run);
  const way = await run.source.agent.choose(signal);
  decide(run, { action: `guest by ${way.action}`, reason: way.reason });
  const asking = askGuest(run, signal);
  const nics = await together(run.nics, (move) => nicPreflight(run, move, asking, signal));
  const guest = await asking;
  const postcopy = await askPostcopy(run, signal);
  const disks = await planDisks(run, signal);
  const continuity = leastContinuity(nics.map((nic) => nic.continuity));
  const strategy = strategyFor(run, continuity, postcopy);
  const postcopyAllowed = run.request.strategy !== 'precopy' && postcopy.supported;
  return {
    owned,
    guest,
    nics,
    continuity,
    disks,
    strategy,
    postcopyAllowed,
    postcopyPreempt: postcopy.preempt,
    throttleOffered: postcopy.throttle && optionsOf(run.request.tuning).throttle,
  };
}
