/** Copy: QEMU moves the memory; we watch, report, and let the strategy decide. Ends at `pre-switchover`. */
import { setTimeout as delay } from 'node:timers/promises';
import { nowMs } from '../../base/clock.ts';
import { ShadowferryError } from '../../errors.ts';
import {
  migrate,
  migrateSetParameters,
  migrateStartPostcopy,
  queryMigrate,
} from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import { FIRST_DOWNTIME_MS, superviseCopy } from '../../memory/strategy.ts';
import type { Incoming } from '../destination/destination.ts';
import type { ProgressEvent } from '../events.ts';
import type { Phase } from '../machine.ts';
import { decide, type Run, step } from '../run.ts';
import type { DiskCopies } from './disks.ts';
import type { Preflight } from './preflight.ts';

const SAMPLE_MS = 100;
const ENDED = new Set(['pre-switchover', 'completed', 'failed', 'cancelled', 'postcopy-active', 'device']);

/** A progress event from what QEMU reports; `previous` gives the rate. */
export function progressOf(
  info: MigrationInfo,
  phase: Phase,
  atMs: number,
  previous: ProgressEvent | undefined,
  reason: string,
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
  };
}

/** Reports progress until `signal` aborts; polling is the only way that QEMU offers for bytes. */
export async function watchProgress(
  run: Run,
  phase: Phase,
  signal: AbortSignal,
  each: (info: MigrationInfo) => Promise<void> = async () => {},
): Promise<void> {
  let previous: ProgressEvent | undefined;
  while (!signal.aborted) {
    const info = await queryMigrate(run.source.qemu.monitor, { signal });
    const reason = run.decisions.at(-1)?.reason ?? '';
    const event = progressOf(info, phase, run.timeline.relative(), previous, reason);
    if (event !== undefined) {
      run.emit(event);
      previous = event;
    }
    await each(info);
    await delay(SAMPLE_MS, undefined, { signal });
  }
}

function failure(info: MigrationInfo, status: string): ShadowferryError {
  return new ShadowferryError('MIGRATION_FAILED', { why: info['error-desc'] ?? `QEMU says "${status}"` });
}

/** Watches a copy with the strategy's eyes; ends only by throwing, or when `signal` aborts. */
async function supervise(run: Run, preflight: Preflight, signal: AbortSignal): Promise<void> {
  const startedAt = nowMs();
  const { copyMs, stallMs } = run.request.limits;
  let progressedAt = startedAt;
  let sent = -1;
  let postcopy = preflight.strategy === 'postcopy';
  let downtimeMs = Math.min(FIRST_DOWNTIME_MS, run.request.downtimeLimitMs);
  let downtimeSinceRound = 1;
  await watchProgress(run, 'copy', signal, async ({ ram }) => {
    const sample = {
      atMs: nowMs(),
      transferred: ram?.transferred ?? 0,
      remaining: ram?.remaining ?? 0,
      dirtyRate: ram === undefined ? 0 : ram['dirty-pages-rate'] * ram['page-size'],
      round: ram?.['dirty-sync-count'] ?? 0,
    };
    if (sample.transferred !== sent) progressedAt = sample.atMs;
    sent = sample.transferred;
    const decision = superviseCopy(sample, startedAt, progressedAt, {
      budgetMs: postcopy ? Number.POSITIVE_INFINITY : copyMs,
      stallMs,
      postcopyAllowed: preflight.postcopyAllowed,
      downtimeMs,
      maxDowntimeMs: run.request.downtimeLimitMs,
      downtimeSinceRound,
    });
    if (decision.action === 'continue') return;
    decide(run, decision);
    if (decision.action === 'raise-downtime') {
      ({ downtimeMs } = decision);
      downtimeSinceRound = sample.round;
      await migrateSetParameters(run.source.qemu.monitor, { 'downtime-limit': downtimeMs });
      return;
    }
    if (decision.action === 'abort') throw new ShadowferryError('MIGRATION_FAILED', { why: decision.reason });
    postcopy = true;
    await migrateStartPostcopy(run.source.qemu.monitor);
  });
}

export async function copy(
  run: Run,
  preflight: Preflight,
  incoming: Incoming,
  disks: Pick<DiskCopies, 'failure'>,
): Promise<void> {
  const { monitor } = run.source.qemu;
  const options = { undo: [{ kind: 'cancel-copy' } as const], critical: preflight.continuity !== 'bridge' };
  await step(run, 'copy', 'copy memory', options, async () => {
    const over = new AbortController();
    using paused = monitor.waitFor(
      (event) => event.name === 'MIGRATION' && ENDED.has(String(event.data.status)),
      { signal: run.cancel },
    );
    // QEMU of the destination gone means that the stream will never end well; the source may take long to notice
    const lost = incoming.gone.then((reason) => {
      const why = `the destination's QEMU is gone (${reason})`;
      throw new ShadowferryError('MIGRATION_FAILED', { why });
    });
    lost.catch(() => {}); // it may be gone before anybody waits for it
    await migrate(monitor, incoming.uri, { signal: run.cancel });
    if (preflight.strategy === 'postcopy') await migrateStartPostcopy(monitor);
    const watched = supervise(run, preflight, AbortSignal.any([run.cancel, over.signal])).catch(
      (error: unknown) => {
        if (over.signal.aborted) return new Promise<never>(() => {}); // not needed any more
        throw error;
      },
    );
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
    } finally {
      over.abort();
    }
  });
}
