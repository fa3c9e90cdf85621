/** Settle: the source is emptied and cleaned, and what came over is compared with the shadow. */
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import { queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import { abilitiesOf } from '../../shadow/net/abilities.ts';
import { captureShadow, removeProgram } from '../../shadow/net/guest.ts';
import type { NetShadow, Outcome } from '../../shadow/net/model.ts';
import { verify } from '../../shadow/net/verify.ts';
import { programDirectory, type Run, step, waitAfter, warn } from '../run.ts';
import { endVm, type RunningVm } from '../vm.ts';
import type { Replayed } from './attach.ts';
import { watchProgress } from './copy.ts';
import type { Preflight } from './preflight.ts';
import { destinationSpec, type Reserved } from './reserve.ts';
import type { Staged } from './stage.ts';

export interface Settled {
  /** QEMU's own figures of the migration. */
  memory: MigrationInfo;
  after: NetShadow | undefined;
  outcomes: Outcome[];
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
  const stopped = vm.channel.waitFor((event) => event.e === 'stopped', signal);
  vm.channel.send('stop');
  await stopped;
  await removeProgram(vm.agent, programDirectory(nic), signal);
}

export async function settle(
  run: Run,
  facts: { preflight: Preflight; reserved: Reserved; staged: Staged; replayed: Replayed | undefined },
): Promise<Settled> {
  const { preflight, reserved, staged, replayed } = facts;
  const { source, nic } = run;
  const memory = await step(run, 'settle', 'drain the source', {}, () => drain(run));
  await step(run, 'settle', 'clean the source', {}, async () => {
    await endVm(source);
    const device = nic.direct.device;
    await run.ownership.releaseDevice({ host: source.host.name, device, vm: source.qemu.spec.name });
  });
  reserved.vm.qemu = recordSpec(reserved.vm.qemu, destinationSpec(run));
  const { agent } = reserved.vm;
  if (replayed === undefined) return { memory, after: undefined, outcomes: [] };
  const after = await step(run, 'settle', 'compare with the shadow', {}, async () => {
    const signal = waitAfter('the guest agent on the destination', run.request.limits.agentMs);
    await agent.waitReady({ signal });
    return captureShadow(agent, preflight.identity, preflight.standbyPciPath, signal);
  });
  const learned = abilitiesOf(after);
  if (learned !== undefined) {
    // worth having, and no reason to call a good migration degraded
    await run.abilities
      .remember(learned)
      .catch((error: unknown) => warn(run, `what this device can do was not kept: ${reasonOf(error)}`));
  }
  await step(run, 'settle', 'remove the program from the guest', {}, async () => {
    await endProgram(reserved.vm, nic.id, run.request.limits.agentMs);
  });
  return { memory, after, outcomes: verify(staged.shadow, after, staged.plan, replayed.results) };
}
