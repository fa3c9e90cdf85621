/** Preflight: ask both sides what they have, match devices, compile the plan. Changes nothing anywhere. */
import { ShadowferryError } from '../../errors.ts';
import { probeQemu } from '../../hypervisor/qemu/capabilities.ts';
import { guestPciPath, type ModelIdentity, modelIdentity } from '../../hypervisor/qemu/pci.ts';
import { CHANNEL_PORT, nicIds } from '../../hypervisor/qemu/spec.ts';
import { queryMigrate, queryMigrateCapabilities, queryStatus } from '../../hypervisor/qmp/commands.ts';
import { chooseStrategy, precopyFault, type StrategyDecision } from '../../memory/strategy.ts';
import type { Ownership } from '../../ownership/store.ts';
import { captureShadow, type GuestFacts, guestFacts } from '../../shadow/net/guest.ts';
import type { DeviceAbilities, DeviceIdentity, NetShadow } from '../../shadow/net/model.ts';
import { chooseContinuity, planReplay } from '../../shadow/net/plan.ts';
import type { Continuity, ReplayPlan } from '../../shadow/net/plan-model.ts';
import { decide, type Run, step, waitBefore, warn } from '../run.ts';

export interface Preflight {
  owned: Ownership;
  identity: DeviceIdentity;
  standbyPciPath: string | undefined;
  guest: GuestFacts;
  shadow: NetShadow;
  continuity: Continuity;
  strategy: 'precopy' | 'postcopy';
  /** What the destination's device can do, where one like it was seen before. */
  abilities: DeviceAbilities | undefined;
  plan: ReplayPlan;
  /** The source's own device, for a rollback and for its driver. */
  sourceModel: ModelIdentity;
  postcopyAllowed: boolean;
  postcopyPreempt: boolean;
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
}

/** Whether post-copy may be used: both QEMUs offer it, and the destination's kernel lets its QEMU take page faults. */
async function askPostcopy(run: Run, signal: AbortSignal): Promise<Postcopy> {
  const source = await queryMigrateCapabilities(run.source.qemu.monitor);
  if (!source.has('postcopy-ram') || !source.has('pause-before-switchover')) {
    return { supported: false, reason: "the source's QEMU offers no post-copy", preempt: false };
  }
  const { postcopy, migrationCapabilities } = await probeQemu(run.destination.qemu.binary, { signal });
  const preempt = source.has('postcopy-preempt') && migrationCapabilities.includes('postcopy-preempt');
  return { ...postcopy, preempt };
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

function continuityFor(run: Run, shadow: NetShadow, guest: GuestFacts): Continuity {
  const decision = chooseContinuity(run.request.continuity, {
    standby: run.nic.standby !== 'none' && shadow.standby !== undefined,
    bonding: guest.bonding || shadow.standIn.kind === 'bond',
    failover: shadow.standIn.kind === 'failover',
  });
  decide(run, decision);
  return decision.action;
}

/** Everything that must be known before anything is touched. */
export async function preflight(run: Run): Promise<Preflight> {
  const signal = waitBefore(run, 'preflight', run.request.limits.agentMs * 2);
  const { monitor, spec } = run.source.qemu;
  const ids = nicIds(run.nic);
  const owned = await checkOwner(run);
  await checkRunning(run);
  const identity = { mac: run.nic.mac, pciPath: await guestPciPath(monitor, ids.directPort) };
  const standbyPciPath =
    run.nic.standby === 'none' ? undefined : await guestPciPath(monitor, ids.standbyPort);
  const sourceModel = await modelIdentity({
    binary: run.source.host.qemu.binary,
    machine: spec.machine,
    model: run.nic.direct.model,
    field: 'vm',
    signal,
  });
  const guest = await step(run, 'preflight', 'ask the guest what it has', {}, () =>
    guestFacts(run.source.agent, `/dev/virtio-ports/${CHANNEL_PORT}`, signal),
  );
  if (!guest.tools.ip)
    throw new ShadowferryError('GUEST_LACKS', { what: 'iproute2', how: 'Install iproute2 in the guest.' });
  if (!guest.channel) {
    const how = 'Start the VM with the virtio-serial port that Shadowferry adds; see docs/architecture.md.';
    throw new ShadowferryError('GUEST_LACKS', { what: `the serial port ${CHANNEL_PORT}`, how });
  }
  if (!guest.tools.ethtool)
    warn(run, 'the guest has no ethtool: offloads, rings, queues and coalescing are not captured');
  const shadow = await step(run, 'preflight', 'capture the shadow', {}, () =>
    captureShadow(run.source.agent, identity, standbyPciPath, signal),
  );
  const postcopy = await askPostcopy(run, signal);
  const continuity = continuityFor(run, shadow, guest);
  const strategy = strategyFor(run, continuity, postcopy);
  const abilities = (await run.abilities.all()).find((known) => known.pciId === run.model.pciId);
  const plan = planReplay(shadow, { continuity, ...(abilities === undefined ? {} : { abilities }) });
  for (const text of plan.warnings) warn(run, text);
  if (abilities === undefined) {
    warn(run, `no ${run.target.model} was seen before: what it cannot do is known only after the attach`);
  }
  const postcopyAllowed = run.request.strategy !== 'precopy' && postcopy.supported;
  return {
    owned,
    identity,
    standbyPciPath,
    guest,
    shadow,
    continuity,
    strategy,
    abilities,
    plan,
    sourceModel,
    postcopyAllowed,
    postcopyPreempt: postcopy.preempt,
  };
}
