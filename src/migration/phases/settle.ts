/** Settle: the source is emptied and cleaned, and what came over is compared with the shadows. */
import { together } from '../../base/together.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import type { VmSpec, Wanted } from '../../hypervisor/qemu/spec.ts';
import { queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import { captureShadow, removeProgram, replayAgain } from '../../shadow/net/guest.ts';
import { GIVEBACK_MS } from '../../shadow/net/manager/manager.ts';
import type { DeviceIdentity, NetShadow, Outcome } from '../../shadow/net/model.ts';
import type { ReplayPlan } from '../../shadow/net/plan-model.ts';
import { verify } from '../../shadow/net/verify.ts';
import { wantedAfter } from '../../shadow/net/wanted.ts';
import { awaitManager, GIVING_BACK } from '../guest-manager.ts';
import { learn } from '../knowledge.ts';
import { persistNic, withoutDevice } from '../persist.ts';
import { keepShadow, nicStep, programDirectory, type Run, step, waitAfter, warn } from '../run.ts';
import { channelOf, endVm, type RunningVm } from '../vm.ts';
import type { Attached, Replayed } from './attach.ts';
import { watchProgress } from './copy.ts';
import { destinationSpec, type Reserved } from './reserve.ts';
import type { NicStaged, Staged } from './stage.ts';

export interface Settled {
  /** QEMU's own figures of the migration. */
  memory: MigrationInfo;
  /** By NIC, of those that have their device. */
  nics: ReadonlyMap<string, NicSettled>;
}

export interface NicSettled {
  after: NetShadow;
  outcomes: Outcome[];
  /** What was chosen and the device cannot have, for a later one. */
  wanted: Wanted[];
  /** Files in the guest for its next boot; undefined when they were not asked for. */
  persisted: string[] | undefined;
}

const DRAIN_MS = 3_600_000;

/** Waits until the source holds nothing that the VM needs: post-copy drained. */
async function drain(run: Run): Promise<MigrationInfo> {
  const { monitor } = run.source.qemu;
  const signal = waitAfter('the end of post-copy', DRAIN_MS);
  const ended = monitor.waitFor(
    (event) =>
      event.name === 'MIGRATION' &&
      ['completed', 'failed', 'postcopy-paused'].includes(String(event.data.status)),
    { signal },
  );
  const over = new AbortController();
  const watching = watchProgress(run, 'settle', over.signal).catch(() => {});
  try {
    const now = await queryMigrate(monitor);
    if (now.status !== 'completed') {
      const status = String((await ended.promise).data.status);
      if (status !== 'completed')
        throw new ShadowferryError('MIGRATION_FAILED', { why: `post-copy is "${status}"` });
    }
    return await queryMigrate(monitor);
  } finally {
    over.abort();
    ended.dispose();
    await watching;
  }
}

/** Stops the replay program of a NIC and removes it from the guest. */
export async function endProgram(vm: RunningVm, nic: string, waitMs: number): Promise<void> {
  const signal = waitAfter('the end of the program in the guest', waitMs);
  const channel = channelOf(vm, nic);
  const stopped = channel.waitFor((event) => event.e === 'stopped', signal);
  channel.send('stop');
  await stopped;
  await removeProgram(vm.agent, programDirectory(nic), signal);
}

async function settleNic(
  run: Run,
  { vm }: Reserved,
  { move, checked, shadow, plan, manager }: NicStaged,
  replayed: Replayed,
): Promise<NicSettled> {
  const waitMs = run.request.limits.agentMs * run.nics.length;
  await nicStep(run, move, 'settle', GIVING_BACK, {}, async () => {
    await vm.agent.waitReady({ signal: waitAfter("the guest's network manager", GIVEBACK_MS) });
    await awaitManager(run, vm.agent, move.nic.id, manager);
  });
  const after = await nicStep(run, move, 'settle', 'compare with the shadow', {}, async () => {
    const signal = waitAfter('the guest agent on the destination', waitMs);
    await vm.agent.waitReady({ signal });
    return captureShadow(vm.agent, checked.identity, checked.standbyPciPath, signal);
  });
  keepShadow(run, move.nic.id, after, 'settle');
  await remember(run, vm, { plan, identity: checked.identity, after }, move.nic.id);
  await nicStep(run, move, 'settle', 'remove the program from the guest', {}, () =>
    endProgram(vm, move.nic.id, waitMs),
  );
  const several = run.nics.length > 1;
  const persisted = run.request.persist
    ? await persistNic(run, { shell: vm.agent, shadow: after, nic: move.nic.id, several })
    : undefined;
  const outcomes = verify(shadow, after, plan, replayed.results);
  return { after, outcomes, wanted: wantedAfter(shadow, after, outcomes, plan.untouched), persisted };
}

/** What this migration has shown of devices is worth having, and no reason to call a good migration degraded. */
async function remember(
  run: Run,
  vm: RunningVm,
  seen: { plan: ReplayPlan; identity: DeviceIdentity; after: NetShadow },
  nic: string,
): Promise<void> {
  const signal = waitAfter('what the device was before anything was set', run.request.limits.agentMs);
  await learn(run.abilities, vm.agent, { ...seen, dir: programDirectory(nic), signal }).catch(
    (error: unknown) => warn(run, `what this device can do was not kept: ${reasonOf(error)}`),
  );
}

/** The VM as it is recorded: each NIC with what its device could not have. */
function specWithWanted(spec: VmSpec, settled: ReadonlyMap<string, NicSettled>): VmSpec {
  const nics = spec.nics.map((nic) => {
    const wanted = settled.get(nic.id)?.wanted;
    return wanted === undefined ? nic : { ...nic, wanted };
  });
  return { ...spec, nics };
}

/**
 * The first device to come may have missed what leans on another. Before the rest, as traffic may wait for it, and
 * only where something failed.
 */
async function replayOnEachOther(
  run: Run,
  { vm }: Reserved,
  { nics }: Staged,
  attached: Attached,
): Promise<void> {
  const missed = nics.filter(({ move }) =>
    attached.replayed.get(move.nic.id)?.results.some(({ set }) => (set ?? 'attach') === 'attach'),
  );
  if (nics.length === 1 || missed.length === 0) return;
  await step(run, 'settle', 'replay what leans on another NIC', {}, async () => {
    const signal = waitAfter('the guest agent on the destination', run.request.limits.agentMs * nics.length);
    await vm.agent.waitReady({ signal });
    for (const { plan } of missed) await replayAgain(vm.agent, plan, signal);
  });
}

export async function settle(
  run: Run,
  facts: { reserved: Reserved; staged: Staged; attached: Attached | undefined },
): Promise<Settled> {
  const { reserved, staged, attached } = facts;
  const { source } = run;
  if (attached !== undefined) await replayOnEachOther(run, reserved, staged, attached);
  const memory = await step(run, 'settle', 'drain the source', {}, () => drain(run));
  await step(run, 'settle', 'clean the source', {}, async () => {
    await endVm(source);
    const vm = source.qemu.spec.name;
    for (const { nic, target } of run.nics) {
      await run.ownership.releaseDevice({ host: source.host.name, device: nic.direct.device, vm });
      // the migration is over, so the claim is the VM's own from here on
      await run.ownership.claimDevice({ host: run.destination.name, device: target.id, vm });
    }
  });
  reserved.vm.qemu = recordSpec(reserved.vm.qemu, destinationSpec(run));
  const nics = new Map<string, NicSettled>();
  await together(staged.nics, async (nic) => {
    const { id } = nic.move.nic;
    const replayed = attached?.replayed.get(id);
    if (replayed !== undefined) nics.set(id, await settleNic(run, reserved, nic, replayed));
    else if (run.request.persist) warn(run, withoutDevice(id));
  });
  reserved.vm.qemu = recordSpec(reserved.vm.qemu, specWithWanted(destinationSpec(run), nics));
  return { memory, nics };
}
