/** The destination of a post-copy whose link broke: it listens anew for the rest of the memory. */
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import { migratePause, migrateRecover, queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { RunningVm } from '../vm.ts';
import { listeningAt } from './listening.ts';

/** Between two looks at a QEMU that takes in that its link is gone, ms. */
const LOOK_MS = 50;

/**
 * Waits until QEMU holds the broken copy, and lets it listen anew. QEMU finds out that a link is dead after minutes; as
 * somebody knows it already, it is told.
 * @returns where it listens
 * @throws MIGRATION_FAILED when the copy is over, or waits for nothing
 */
export async function recoverCopy(vm: RunningVm, signal: AbortSignal): Promise<string> {
  const { monitor } = vm.qemu;
  let told = false;
  for (;;) {
    const { status } = await queryMigrate(monitor, { signal });
    if (status === 'postcopy-paused') break;
    if (status !== 'postcopy-active' && status !== 'postcopy-recover' && status !== 'postcopy-recover-setup')
      throw new ShadowferryError('MIGRATION_FAILED', { why: `the destination's post-copy is "${status}"` });
    if (status === 'postcopy-active' && !told) {
      // it may find out by itself at the same moment
      await migratePause(monitor, { signal }).catch(() => {});
      told = true;
    }
    await delay(LOOK_MS, undefined, { signal });
  }
  await migrateRecover(monitor, `tcp:${vm.host.migrationAddress}:0`, { signal });
  return listeningAt(vm, signal);
}
