/** Settle: the source is emptied and cleaned, and the destination compares what came over with the shadows. */
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import type { Incoming, NicSettled } from '../destination/destination.ts';
import { leaveDisks } from '../disks.ts';
import { type Run, step, warn } from '../run.ts';
import { endVm } from '../vm.ts';
import { drain } from './drain.ts';

export interface Settled {
  /** QEMU's own figures of the migration. */
  memory: MigrationInfo;
  /** By NIC, of those that have their device. */
  nics: ReadonlyMap<string, NicSettled>;
}

/** The step after which nothing of the VM is left on the source. */
export const CLEAN = 'clean the source';

export async function settle(run: Run, incoming: Incoming): Promise<Settled> {
  const { source } = run;
  const memory = await step(run, 'settle', 'drain the source', {}, () => drain(run, incoming));
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
