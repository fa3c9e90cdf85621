/** Switchover: the one commit point. Before it the source may run the VM, after it the destination must. */
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import { cont, migrateContinue, queryMigrate, queryStatus } from '../../hypervisor/qmp/commands.ts';
import type { Ownership } from '../../ownership/store.ts';
import { type Run, step, waitAfter, waitBefore } from '../run.ts';
import type { Preflight } from './preflight.ts';
import type { Reserved } from './reserve.ts';

const LOAD_MS = 60_000;
const RUN_MS = 30_000;

/** Called once, in between; durable when it returns. */
export type Commit = (expected: Ownership) => Promise<void>;

async function start(run: Run, reserved: Reserved): Promise<void> {
  const { monitor } = reserved.vm.qemu;
  const resumed = monitor.waitFor('RESUME', { signal: waitAfter('the start of the destination', RUN_MS) });
  await cont(monitor);
  run.timeline.mark('destination runs', (await resumed.promise).arrivedMs);
}

/**
 * Pre-copy: the destination has loaded everything and waits, so whatever fails until the commit, one complete VM is
 * left on the source; and what fails after it, one complete VM on the destination.
 */
async function afterLoad(run: Run, reserved: Reserved): Promise<void> {
  const signal = waitBefore(run, 'loading the last state on the destination', LOAD_MS);
  const ended = (event: { name: string; data: Record<string, unknown> }) =>
    event.name === 'MIGRATION' && ['completed', 'failed', 'cancelled'].includes(String(event.data.status));
  const sent = run.source.qemu.monitor.waitFor(ended, { signal });
  const loaded = reserved.vm.qemu.monitor.waitFor(ended, { signal });
  await migrateContinue(run.source.qemu.monitor);
  for (const [side, waiter] of [
    ['destination', loaded],
    ['source', sent],
  ] as const) {
    const status = String((await waiter.promise).data.status);
    if (status === 'completed') continue;
    const info = await queryMigrate(run.source.qemu.monitor);
    throw new ShadowferryError('MIGRATION_FAILED', {
      why: info['error-desc'] ?? `the ${side} says "${status}"`,
    });
  }
  run.timeline.mark('destination loaded');
}

/** Between two tries to start a destination whose disks the source is about to let go of, ms. */
const AGAIN_MS = 5;

/**
 * Starts a destination with disks in post-copy. QEMU takes the images' locks in the very command that says "run when
 * you can", and the source gives them up a moment after it was told to go on, of which it says nothing.
 */
async function startWithDisks(reserved: Reserved): Promise<void> {
  const signal = waitAfter("the source to let go of the VM's disks", RUN_MS);
  for (;;) {
    try {
      return await cont(reserved.vm.qemu.monitor);
    } catch (error) {
      const held = error instanceof ShadowferryError && /\block\b/.test(String(error.params.description));
      if (!held || signal.aborted) throw error;
      await delay(AGAIN_MS);
    }
  }
}

export async function switchover(
  run: Run,
  preflight: Preflight,
  reserved: Reserved,
  commit: Commit,
): Promise<void> {
  const { monitor } = reserved.vm.qemu;
  if (run.confirm !== undefined) {
    await step(run, 'switchover', 'wait for the user', {}, run.confirm);
  }
  await step(run, 'switchover', 'hand over', { critical: true }, async () => {
    run.cancel.throwIfAborted();
    if (preflight.strategy === 'precopy' && !run.decisions.some(({ action }) => action === 'postcopy')) {
      await afterLoad(run, reserved);
      await commit(preflight.owned);
      await start(run, reserved);
      return;
    }
    // post-copy needs both sides from here on, so it is committed before the source lets go; the destination must
    // be known to be there, for there is no way back
    await queryStatus(monitor, { signal: waitBefore(run, 'an answer of the destination', 5_000) });
    await commit(preflight.owned);
    const resumed = monitor.waitFor('RESUME', { signal: waitAfter('the start of the destination', RUN_MS) });
    if (run.source.qemu.spec.disks.length > 0) {
      await migrateContinue(run.source.qemu.monitor);
      await startWithDisks(reserved);
    } else {
      // while it takes the stream in, this only means: run when you can
      await cont(monitor);
      await migrateContinue(run.source.qemu.monitor);
    }
    run.timeline.mark('destination runs', (await resumed.promise).arrivedMs);
  });
}
