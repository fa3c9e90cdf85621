/** Copy: QEMU moves the memory; we watch, report, and let the strategy decide. Ends at `pre-switchover`. */
import { setTimeout as delay } from 'node:timers/promises';
import { nowMs } from '../../base/clock.ts';
import { raceSignal } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { migrate, migrateStartPostcopy, queryMigrate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import { superviseCopy } from '../../memory/strategy.ts';
import type { ProgressEvent } from '../events.ts';
import type { Phase } from '../machine.ts';
import { decide, type Run, step } from '../run.ts';
import type { Preflight } from './preflight.ts';
import type { Reserved } from './reserve.ts';

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
    etaMs: ram.remaining === 0 ? 0 : closing > 0 ? (ram.remaining * 1000) / closing : null,
    reason,
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

export async function copy(run: Run, preflight: Preflight, reserved: Reserved): Promise<void> {
  const { monitor } = run.source.qemu;
  await step(
    run,
    'copy',
    'copy memory',
    { undo: [{ kind: 'cancel-copy' }], critical: preflight.continuity !== 'bridge' },
    async () => {
      const over = new AbortController();
      const signal = AbortSignal.any([run.cancel, over.signal]);
      const paused = monitor.waitFor(
        (event) => event.name === 'MIGRATION' && ENDED.has(String(event.data.status)),
        { signal: run.cancel },
      );
      // QEMU of the destination gone means that the stream will never end well; the source may take long to notice
      const lost = reserved.vm.qemu.monitor.closed.then((error) => {
        throw new ShadowferryError('MIGRATION_FAILED', {
          why: `the destination's QEMU is gone (${error?.message ?? 'closed'})`,
        });
      });
      lost.catch(() => {});
      const startedAt = nowMs();
      await migrate(monitor, reserved.uri, { signal: run.cancel });
      let postcopy = preflight.strategy === 'postcopy';
      if (postcopy) await migrateStartPostcopy(monitor);
      const watching = watchProgress(run, 'copy', signal, async (info) => {
        const { ram } = info;
        if (ram === undefined || postcopy) return;
        const sample = {
          atMs: nowMs(),
          transferred: ram.transferred,
          remaining: ram.remaining,
          dirtyRate: ram['dirty-pages-rate'] * ram['page-size'],
          round: ram['dirty-sync-count'],
        };
        const limits = { budgetMs: run.request.limits.copyMs, postcopyAllowed: preflight.postcopyAllowed };
        const decision = superviseCopy(sample, startedAt, limits);
        if (decision.action === 'continue') return;
        decide(run, decision);
        if (decision.action === 'abort')
          throw new ShadowferryError('MIGRATION_FAILED', { why: decision.reason });
        postcopy = true;
        await migrateStartPostcopy(monitor);
      });
      // ends only by failing, or by `over`
      const watched = watching.catch((error: unknown) => {
        if (!over.signal.aborted) throw error;
        return new Promise<never>(() => {});
      });
      watched.catch(() => {});
      try {
        const event = await raceSignal(
          Promise.race([paused.promise, lost, watched.then(() => paused.promise)]),
          run.cancel,
        );
        const status = String(event.data.status);
        if (status !== 'pre-switchover') throw failure(await queryMigrate(monitor), status);
        run.timeline.mark('source paused', event.arrivedMs);
      } finally {
        over.abort();
        paused.dispose();
      }
    },
  );
}
