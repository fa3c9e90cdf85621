/** Figures of migrations for Prometheus. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { MigrationResult } from '../../migration/result.ts';

/** Bounds of times, s: blackouts are tens of milliseconds, copies minutes. */
const SHORT = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
const LONG = [0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800];

export interface WorkMetrics {
  waiting: Gauge;
  running: Gauge;
  waited: Histogram;
  refused: Counter<'why'>;
  retries: Counter;
  recoveries: Counter<'outcome'>;
  /** Counts what has ended. */
  ended: (result: MigrationResult) => void;
}

export function makeWorkMetrics(registry: Registry): WorkMetrics {
  const registers = [registry];
  const name = (text: string) => `shadowferry_${text}`;
  const migrations = new Counter({
    name: name('migrations_total'),
    help: 'Migrations, swaps and rescues by how they ended',
    labelNames: ['kind', 'ending'],
    registers,
  });
  const faults = new Counter({
    name: name('migration_errors_total'),
    help: 'Why migrations did not end as they were asked for, by code',
    labelNames: ['code'],
    registers,
  });
  const phases = new Histogram({
    name: name('migration_phase_seconds'),
    help: 'Time of each phase',
    labelNames: ['kind', 'phase'],
    buckets: LONG,
    registers,
  });
  const blackout = new Histogram({
    name: name('migration_blackout_seconds'),
    help: 'vCPUs stopped, from the source stopping to the destination running',
    buckets: SHORT,
    registers,
  });
  const outage = new Histogram({
    name: name('migration_outage_seconds'),
    help: 'No traffic passes, as far as it is known from inside: from the device left to packets on the new one, and in bridge the blackout',
    labelNames: ['continuity'],
    buckets: [...SHORT, 10, 30, 60],
    registers,
  });
  const bytes = new Counter({
    name: name('migration_memory_bytes_total'),
    help: 'Memory sent',
    registers,
  });
  const attributes = new Counter({
    name: name('migration_attributes_total'),
    help: 'Attributes of devices by what became of them',
    labelNames: ['fate'],
    registers,
  });
  return {
    waiting: new Gauge({ name: name('queue_length'), help: 'Migrations that wait', registers }),
    running: new Gauge({
      name: name('migrations_running'),
      help: 'Migrations that are under way',
      registers,
    }),
    waited: new Histogram({
      name: name('queue_wait_seconds'),
      help: 'From being asked for to the first try',
      buckets: LONG,
      registers,
    }),
    refused: new Counter({
      name: name('queue_refused_total'),
      help: 'Requests that the queue did not take',
      labelNames: ['why'],
      registers,
    }),
    retries: new Counter({
      name: name('migration_retries_total'),
      help: 'Migrations that were put back into the queue',
      registers,
    }),
    recoveries: new Counter({
      name: name('migration_recoveries_total'),
      help: 'Open migrations that were found and taken to their end',
      labelNames: ['outcome'],
      registers,
    }),
    ended(result) {
      const kind = result.kind ?? 'migration';
      migrations.inc({ kind, ending: result.ending });
      if (result.error !== undefined) faults.inc({ code: result.error.code });
      for (const { name: phase, durationMs } of result.phases)
        phases.observe({ kind, phase }, durationMs / 1000);
      if (result.blackoutMs !== null) blackout.observe(result.blackoutMs / 1000);
      bytes.inc(result.memoryBytes);
      for (const [fate, list] of [
        ['restored', result.shadow.restored],
        ['adapted', result.shadow.adapted],
        ['lost', result.shadow.lost],
      ] as const)
        attributes.inc({ fate }, list.length);
      const known = outageMs(result);
      if (known !== undefined) outage.observe({ continuity: result.continuity ?? 'unknown' }, known / 1000);
    },
  };
}

/**
 * How long no traffic passed, as far as the migration itself can know; undefined where it cannot. Of several NICs the
 * longest.
 */
export function outageMs({ marks, continuity, blackoutMs }: MigrationResult): number | undefined {
  if (continuity === 'bridge') return blackoutMs ?? undefined;
  const details = new Set(marks.map(({ detail }) => detail));
  const of = [...details].flatMap((detail) => {
    const at = (wanted: string) =>
      marks.findLast((mark) => mark.name === wanted && mark.detail === detail)?.atMs;
    const left = at('traffic left the device');
    const back = at('device has carrier');
    if (left === undefined || back === undefined) return [];
    return [Math.max(back, at('addresses and routes are back') ?? back) - left];
  });
  return of.length === 0 ? undefined : Math.max(...of);
}
