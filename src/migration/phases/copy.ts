/** Copy: QEMU moves the memory; we watch, report, and let the strategy decide. Ends at `pre-switchover`. */
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import { migrate, migrateStartPostcopy, queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import type { Incoming } from '../destination/destination.ts';
import type { ProgressEvent } from '../events.ts';
import type { Phase } from '../machine.ts';
import { type Run, step } from '../run.ts';
import { CopyWatch, keepQuietly } from './copy-watch.ts';
import type { DiskCopies } from './disks.ts';
import { destinationLost } from './lost.ts';
import type { Preflight } from './preflight.ts';

const SAMPLE_MS = 100;
const ENDED = new Set(['pre-switchover', 'completed', 'failed', 'cancelled', 'postcopy-active', 'device']);

/** A progress event from what QEMU reports; `previous` gives the rate. */
export function progressOf(
  info: MigrationInfo,
  phase: Phase,
  atMs: number,
  previous: ProgressEvent | undefined,
  { reason, version }: { reason: string; version?: string | undefined },
): ProgressEvent | undefined {
  const { ram } = info;
  if (ram === undefined) return undefined;
  const elapsed = previous === undefined ? 0 : atMs - previous.atMs;
  const rateBps =
    elapsed > 0 && previous ? Math.max(0, ((ram.transferred - previous.transferred) * 1000) / elapsed) : 0;
  const dirtyRateBps = ram['dirty-pages-rate'] * ram['page-size'];
  const closing = rateBps - dirtyRateBps;
  const etaMs = ram.remaining === 0 ? 0 : closing > 0 ? (ram.remaining * 1000) / closing : null;
  return {
    type: 'progress',
    atMs,
    phase,
    transferred: ram.transferred,
    remaining: ram.remaining,
    total: ram.total,
    rateBps,
    dirtyRateBps,
    round: ram['dirty-sync-count'],
    etaMs,
    reason,
    // the disks are on both sides when memory begins to move
    residual: { bytes: ram.remaining, etaMs },
    ...(version === undefined ? {} : { version }),
  };
}

/** Who looks at each report of QEMU too. */
export interface ProgressWatch {
  look(info: MigrationInfo): Promise<void>;
  /** Version of the memory, where one is counted. */
  readonly version?: string;
}

/** Reports progress until `signal` aborts; polling is the only way that QEMU offers for bytes. */
export async function watchProgress(
  run: Run,
  phase: Phase,
  signal: AbortSignal,
  watch?: ProgressWatch,
): Promise<void> {
  let previous: ProgressEvent | undefined;
  while (!signal.aborted) {
    const info = await queryMigrate(run.source.qemu.monitor, { signal });
    await watch?.look(info);
    const reason = run.decisions.at(-1)?.reason ?? '';
    const told = { reason, version: watch?.version };
    const event = progressOf(info, phase, run.timeline.relative(), previous, told);
    if (event !== undefined) {
      run.emit(event);
      previous = event;
    }
    await delay(SAMPLE_MS, undefined, { signal });
  }
}

function failure(info: MigrationInfo, status: string): ShadowferryError {
  return new ShadowferryError('MIGRATION_FAILED', { why: info['error-desc'] ?? `QEMU says "${status}"` });
}

/** Copies until the source stands before the switchover. @returns what was seen, for `keepQuietly` when nothing waits for it */
export function copy(
  run: Run,
  preflight: Preflight,
  incoming: Incoming,
  disks: Pick<DiskCopies, 'failure'>,
): Promise<CopyWatch> {
  const { monitor } = run.source.qemu;
  const options = { undo: [{ kind: 'cancel-copy' } as const], critical: preflight.continuity !== 'bridge' };
  return step(run, 'copy', 'copy memory', options, async () => {
    const over = new AbortController();
    using paused = monitor.waitFor(
      (event) => event.name === 'MIGRATION' && ENDED.has(String(event.data.status)),
      { signal: run.cancel },
    );
    // QEMU of the destination gone means that the stream will never end well; the source may take long to notice
    const lost = destinationLost(incoming);
    await migrate(monitor, incoming.uri, { signal: run.cancel });
    if (preflight.strategy === 'postcopy') await migrateStartPostcopy(monitor);
    const watch = new CopyWatch(run, preflight);
    const until = AbortSignal.any([run.cancel, over.signal]);
    const watched = watchProgress(run, 'copy', until, watch).catch((error: unknown) => {
      if (over.signal.aborted) return new Promise<never>(() => {}); // not needed any more
      throw error;
    });
    watched.catch(() => {});
    try {
      const event = await Promise.race([
        paused.promise,
        lost,
        disks.failure,
        watched.then(() => paused.promise),
      ]);
      const status = String(event.data.status);
      if (status !== 'pre-switchover') throw failure(await queryMigrate(monitor), status);
      run.timeline.mark('source paused', event.arrivedMs);
      return watch;
    } catch (error) {
      keepQuietly(run, watch);
      throw error;
    } finally {
      over.abort();
    }
  });
}
