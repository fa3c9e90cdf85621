/** Settle: the source is emptied and cleaned, and the destination compares what came over with the shadows. */
import { ShadowferryError } from '../../errors.ts';
import { queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import type { Incoming, NicSettled } from '../destination/destination.ts';
import { leaveDisks } from '../disks.ts';
import { type Run, step, waitAfter, warn } from '../run.ts';
import { endVm } from '../vm.ts';
import { watchProgress } from './copy.ts';

export interface Settled {
  /** QEMU's own figures of the migration. */
  memory: MigrationInfo;
  /** By NIC, of those that have their device. */
  nics: ReadonlyMap<string, NicSettled>;
}

/** The step after which nothing of the VM is left on the source. */
export const CLEAN = 'clean the source';

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

export async function settle(run: Run, incoming: Incoming): Promise<Settled> {
  const { source } = run;
  const memory = await step(run, 'settle', 'drain the source', {}, () => drain(run));
  await step(run, 'settle', CLEAN, {}, async () => {
    await endVm(source);
    const about = { id: run.id, destination: run.destination.name };
    for (const text of leaveDisks(source.qemu.spec, about, run.request.oldDisks)) warn(run, text);
    const vm = source.qemu.spec.name;
    for (const { nic, target } of run.nics) {
      await run.ownership.releaseDevice({ host: source.host.name, device: nic.direct.device, vm });
      // the migration is over, so the claim is the VM's own from here on
      await run.ownership.claimDevice({ host: run.destination.name, device: target.id, vm });
    }
  });
  return { memory, nics: await incoming.settle() };
}
