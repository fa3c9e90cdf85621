/** Waits until the source holds nothing that the VM needs: the end of post-copy, over a link that may break meanwhile. */
import { setTimeout as delay } from 'node:timers/promises';
import { nowMs } from '../../base/clock.ts';
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { migrate, migratePause, queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import type { Incoming } from '../destination/destination.ts';
import { type Run, waitAfter, warn } from '../run.ts';
import { watchProgress } from './copy.ts';

const DRAIN_MS = 3_600_000;
/** For one try to bring a broken post-copy on its way again, and between two tries, ms. */
const RESUME_MS = 10_000;
const AGAIN_MS = 1000;
/** Between two looks at a QEMU that connects anew, ms. */
const LOOK_MS = 50;

/** Where a post-copy stops for good, or for a while. */
const STOPPED = ['completed', 'failed', 'postcopy-paused'] as const;

/**
 * Tells QEMU that its link is dead when nothing was sent for `limits.stallMs`: it would take minutes to find out, and the
 * VM stands still where it wants a page. In post-copy there is always something to send until it is over.
 */
function deadLinkWatch(run: Run): (info: MigrationInfo) => Promise<void> {
  let [sent, progressedAt] = [-1, nowMs()];
  return async ({ status, ram }) => {
    const transferred = ram?.transferred ?? 0;
    const moved = transferred !== sent || status !== 'postcopy-active';
    sent = transferred;
    if (moved) progressedAt = nowMs();
    if (nowMs() - progressedAt <= run.request.limits.stallMs) return;
    progressedAt = nowMs();
    warn(
      run,
      `nothing was sent for ${run.request.limits.stallMs} ms in post-copy: the link is taken for dead`,
    );
    // it may find out by itself at the same moment
    await migratePause(run.source.qemu.monitor).catch(() => {});
  };
}

/** Waits until the post-copy has stopped. @returns what QEMU says then */
async function untilStopped(run: Run, signal: AbortSignal): Promise<MigrationInfo> {
  const { monitor } = run.source.qemu;
  using stopped = monitor.waitFor(
    ({ name, data }) => name === 'MIGRATION' && STOPPED.some((status) => status === data.status),
    { signal },
  );
  stopped.promise.catch(() => {}); // nobody waits for it when it has stopped already
  const now = await queryMigrate(monitor, { signal });
  if (STOPPED.some((status) => status === now.status)) return now;
  await stopped.promise;
  return queryMigrate(monitor, { signal });
}

/** Brings a broken post-copy on its way again; tries until `signal` ends it, as the VM has nowhere else to go. */
async function resume(
  run: Run,
  recover: NonNullable<Incoming['recover']>,
  signal: AbortSignal,
): Promise<void> {
  const { monitor } = run.source.qemu;
  warn(
    run,
    'the link broke while memory followed the VM: it stands still where it wants a page that is missing',
  );
  for (;;) {
    signal.throwIfAborted();
    try {
      const soon = AbortSignal.any([waitAfter('the way back into post-copy', RESUME_MS), signal]);
      await migrate(monitor, await recover(soon), { resume: true, signal: soon });
      // QEMU leaves the pause when it is connected
      while ((await queryMigrate(monitor, { signal: soon })).status === 'postcopy-paused')
        await delay(LOOK_MS, undefined, { signal: soon });
      run.timeline.mark('post-copy resumed');
      return;
    } catch (error) {
      signal.throwIfAborted();
      warn(run, `post-copy could not be resumed yet: ${reasonOf(error)}`);
      await pauseFor(AGAIN_MS, signal);
    }
  }
}

/**
 * @throws MIGRATION_FAILED when the rest of the memory does not come, which leaves the VM without it, and when the VM ended
 * on the destination: QEMU of the source may take nobody's silence for a link that is slow
 */
export async function drain(run: Run, incoming: Incoming): Promise<MigrationInfo> {
  const over = new AbortController();
  const lost = new AbortController();
  void incoming.gone.then((reason) => {
    const why = `the VM ended on the destination, and nobody wants the rest of its memory (${reason})`;
    lost.abort(new ShadowferryError('MIGRATION_FAILED', { why }));
  });
  const signal = AbortSignal.any([waitAfter('the end of post-copy', DRAIN_MS), lost.signal]);
  const watching = watchProgress(run, 'settle', over.signal, { look: deadLinkWatch(run) }).catch(() => {});
  // bound, as what recovers is a method
  const recover = incoming.recover?.bind(incoming);
  try {
    for (;;) {
      const info = await untilStopped(run, signal);
      if (info.status === 'completed') return info;
      // another host's daemon listens anew by itself, and the way on is found with it
      if (info.status !== 'postcopy-paused' || recover === undefined)
        throw new ShadowferryError('MIGRATION_FAILED', { why: `post-copy is "${info.status}"` });
      await resume(run, recover, signal);
    }
  } finally {
    over.abort();
    await watching;
  }
}
