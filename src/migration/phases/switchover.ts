/** Switchover: the one commit point. Before it the source may run the VM, after it the destination must. */
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import { migrateContinue, queryMigrate, queryStatus } from '../../hypervisor/qmp/commands.ts';
import type { Ownership } from '../../ownership/store.ts';
import type { Incoming } from '../destination/destination.ts';
import { sourceView } from '../protocol/qemu-view.ts';
import { type Run, step, waitAfter, waitBefore } from '../run.ts';
import type { DiskCopies } from './disks.ts';
import { destinationLost } from './lost.ts';

const LOAD_MS = 60_000;
const RUN_MS = 30_000;
/** Between two looks at the source while it sends the last state, ms: the VM stands still meanwhile. */
const LOOK_MS = 2;

/** Called once, in between; durable when it returns. @returns the record that names the destination */
export type Commit = () => Promise<Ownership>;

/**
 * Waits until the source cannot start the VM by itself any more. In post-copy "postcopy-active" comes a moment too
 * early for that: before the last state is sent, of which a failure lets QEMU start the VM again. The first page that
 * goes out after it shows that it is.
 */
async function untilLetGo(run: Run, signal: AbortSignal): Promise<void> {
  const { monitor } = run.source.qemu;
  for (;;) {
    const info = await queryMigrate(monitor, { signal });
    const { status, running } = await queryStatus(monitor, { signal });
    const view = sourceView({ status, running, migration: info.status });
    if (view === 'sent' || (view === 'serving' && (info.ram?.['postcopy-bytes'] ?? 0) > 0)) return;
    if (view !== 'sending' && view !== 'serving' && view !== 'pre-switchover') {
      const { 'error-desc': why = `the source says "${info.status}"` } = info;
      throw new ShadowferryError('MIGRATION_FAILED', { why });
    }
    await delay(LOOK_MS, undefined, { signal });
  }
}

/**
 * The destination has loaded all that it needs and waits, and the source has let go: whatever fails until the commit,
 * the whole VM is on the source; and what fails after it, the destination runs it.
 */
async function vote(run: Run, incoming: Incoming): Promise<void> {
  const signal = waitBefore(run, 'loading the last state on the destination', LOAD_MS);
  const lost = destinationLost(incoming);
  await migrateContinue(run.source.qemu.monitor);
  await Promise.race([incoming.loaded(signal), lost]);
  await Promise.race([untilLetGo(run, signal), lost]);
  run.timeline.mark('destination loaded');
}

export async function switchover(
  run: Run,
  incoming: Incoming,
  disks: Pick<DiskCopies, 'finish'>,
  commit: Commit,
): Promise<void> {
  if (run.confirm !== undefined) {
    await step(run, 'switchover', 'wait for the user', {}, run.confirm);
  }
  await step(run, 'switchover', 'hand over', { critical: true }, async () => {
    run.cancel.throwIfAborted();
    // before the rest is sent: a destination that has loaded all is one that has the disks
    await disks.finish();
    await vote(run, incoming);
    run.cancel.throwIfAborted();
    const owned = await commit();
    const started = waitAfter('the start of the destination', RUN_MS);
    await incoming.allow(owned, started);
    run.timeline.mark('destination runs', await incoming.running(started));
  });
}
