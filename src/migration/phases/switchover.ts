/** Switchover: the one commit point. Before it the source may run the VM, after it the destination must. */
import { ShadowferryError } from '../../errors.ts';
import { migrateContinue, queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { Ownership } from '../../ownership/store.ts';
import type { Incoming } from '../destination/destination.ts';
import { type Run, step, waitAfter, waitBefore } from '../run.ts';
import type { Preflight } from './preflight.ts';

const LOAD_MS = 60_000;
const RUN_MS = 30_000;

/** Called once, in between; durable when it returns. @returns the record that names the destination */
export type Commit = (expected: Ownership) => Promise<Ownership>;

/**
 * Pre-copy: the destination has loaded everything and waits, so whatever fails until the commit, one complete VM is
 * left on the source; and what fails after it, one complete VM on the destination.
 */
async function afterLoad(run: Run, incoming: Incoming): Promise<void> {
  const signal = waitBefore(run, 'loading the last state on the destination', LOAD_MS);
  const { monitor } = run.source.qemu;
  using sent = monitor.waitFor(
    ({ name, data }) =>
      name === 'MIGRATION' && ['completed', 'failed', 'cancelled'].includes(String(data.status)),
    { signal },
  );
  await migrateContinue(monitor);
  await incoming.loaded(signal);
  const status = String((await sent.promise).data.status);
  if (status !== 'completed') {
    const { 'error-desc': why = `the source says "${status}"` } = await queryMigrate(monitor);
    throw new ShadowferryError('MIGRATION_FAILED', { why });
  }
  run.timeline.mark('destination loaded');
}

export async function switchover(
  run: Run,
  preflight: Preflight,
  incoming: Incoming,
  commit: Commit,
): Promise<void> {
  const { monitor, spec } = run.source.qemu;
  if (run.confirm !== undefined) {
    await step(run, 'switchover', 'wait for the user', {}, run.confirm);
  }
  await step(run, 'switchover', 'hand over', { critical: true }, async () => {
    run.cancel.throwIfAborted();
    const started = () => waitAfter('the start of the destination', RUN_MS);
    if (preflight.strategy === 'precopy' && !run.decisions.some(({ action }) => action === 'postcopy')) {
      await afterLoad(run, incoming);
      const owned = await commit(preflight.owned);
      await incoming.allow(owned, { locksHeld: false, signal: started() });
    } else {
      // post-copy needs both sides from here on, so it is committed before the source lets go; the destination must
      // be known to be there, for there is no way back
      await incoming.present(waitBefore(run, 'an answer of the destination', 5_000));
      const owned = await commit(preflight.owned);
      if (spec.disks.length > 0) {
        await migrateContinue(monitor);
        const signal = waitAfter("the source to let go of the VM's disks", RUN_MS);
        await incoming.allow(owned, { locksHeld: true, signal });
      } else {
        // while it takes the stream in, this only means: run when you can
        await incoming.allow(owned, { locksHeld: false, signal: started() });
        await migrateContinue(monitor);
      }
    }
    run.timeline.mark('destination runs', await incoming.running(started()));
  });
}
