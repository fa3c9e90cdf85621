/** What happened, in words. */
import { formatMs } from '../base/units.ts';
import type { MigrationReport } from './model.ts';

export type Verdict = 'done' | 'degraded' | 'failed';

/** How the migration ended. */
export function verdict(report: MigrationReport): Verdict {
  if (!report.ok && report.degraded === undefined) return 'failed';
  return report.degraded === undefined ? 'done' : 'degraded';
}

/** Outage for a sentence: TCP where it was measured, else ICMP, else that nothing was measured. */
export function outageText(report: MigrationReport): string {
  const { tcp, icmp } = report.outageMs;
  if (tcp !== null) return `outage ${formatMs(tcp)}`;
  return icmp === null ? 'outage not measured' : `outage ${formatMs(icmp)} (ICMP)`;
}

/** The migration in one sentence, as plain text. */
export function headline(report: MigrationReport): string {
  const { vm, source, destination, from, to, connections } = report;
  const route = `from ${source} (${from.model}) to ${destination} (${to.model})`;
  const time = formatMs(report.totalMs);
  const alive =
    connections.opened === 0
      ? 'no connections watched'
      : `connections ${connections.survived} of ${connections.opened} alive`;
  const blackout = report.blackoutMs > 0 ? `blackout ${formatMs(report.blackoutMs)}` : 'no blackout';
  const facts = `${alive}; ${outageText(report)}, ${blackout}`;
  switch (verdict(report)) {
    case 'done':
      return `${vm} moved ${route} in ${time}; ${facts}`;
    case 'degraded':
      return `${vm} moved ${route} in ${time}, but runs without its direct device; ${facts}`;
    case 'failed': {
      const reached = report.phases.toSorted((a, b) => a.startMs - b.startMs).at(-1)?.name;
      return `${vm} was to move ${route}: it failed${reached ? ` in ${reached}` : ''} after ${time}; ${facts}`;
    }
  }
}
