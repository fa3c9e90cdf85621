/** How the plan of a migration is printed: what a dry run found. */
import { formatBytes, formatMs } from '../base/units.ts';
import type { Summary } from '../migration/history.ts';
import type { Match } from '../migration/match.ts';
import type { MigrationResult } from '../migration/result.ts';
import { outcomeLines } from './migration-output.ts';

/** What is known before a migration, besides what its dry run says. */
export interface Foreseen {
  matches: readonly Match[];
  memoryMiB: number;
  /** Bytes per second; 0: as fast as it goes. */
  maxBandwidth: number;
  /** Figures of this VM's last migration. */
  last: (Summary & { id: string }) | undefined;
}

/** At most this long by the memory's size and the allowed rate; null where no rate is set. */
function longestFirstRoundMs({ memoryMiB, maxBandwidth }: Foreseen): number | null {
  return maxBandwidth === 0 ? null : (memoryMiB * 1024 * 1024 * 1000) / maxBandwidth;
}

/** The part `plan` of a dry run's JSON line. */
export function planPart(result: MigrationResult, foreseen: Foreseen): Record<string, unknown> {
  const { matches, memoryMiB, last } = foreseen;
  const reasonOf = (action: string | undefined) =>
    result.decisions.findLast((decision) => decision.action === action)?.reason ?? null;
  return {
    matches: matches.map(({ nic, target, reason }) => ({
      nic: nic.id,
      from: nic.direct,
      to: { device: target.id, model: target.model, network: target.network },
      reason,
      continuity: result.nics.find((each) => each.nic === nic.id)?.continuity ?? null,
    })),
    continuity: { action: result.continuity ?? null, reason: reasonOf(result.continuity) },
    strategy: { action: result.strategy ?? null, reason: reasonOf(result.strategy) },
    estimates: {
      memoryBytes: memoryMiB * 1024 * 1024,
      longestFirstRoundMs: longestFirstRoundMs(foreseen),
      lastMigration:
        last === undefined
          ? null
          : {
              id: last.id,
              totalMs: last.totalMs,
              blackoutMs: last.blackoutMs,
              memoryBytes: last.memoryBytes,
            },
    },
  };
}

function estimate(foreseen: Foreseen): string {
  const { memoryMiB, last } = foreseen;
  const round = longestFirstRoundMs(foreseen);
  const parts = [`at most ${formatBytes(memoryMiB * 1024 * 1024)} of memory in the first round`];
  if (round !== null) parts.push(`${formatMs(round)} for it at the rate that is allowed`);
  if (last !== undefined) {
    const blackout = last.blackoutMs === null ? '' : `, blackout ${formatMs(last.blackoutMs)}`;
    parts.push(`last time ${formatBytes(last.memoryBytes)} in ${formatMs(last.totalMs)}${blackout}`);
  }
  return parts.join('; ');
}

/** The table that a dry run ends with. */
export function renderPlan(result: MigrationResult, foreseen: Foreseen): string {
  const { shadow } = result;
  const several = foreseen.matches.length > 1;
  const why = (action: string | undefined) => {
    const reason = result.decisions.findLast((decision) => decision.action === action)?.reason;
    return `${action ?? '-'}${reason === undefined ? '' : ` (${reason})`}`;
  };
  const table = [
    ['Plan', `VM ${result.vm}, ${result.source} → ${result.destination}; nothing was changed`],
    ...foreseen.matches.map(({ nic, target, reason }) => {
      const mode = result.nics.find((each) => each.nic === nic.id)?.continuity;
      const told = several ? `; network ${nic.network}, ${mode ?? '-'} (${reason})` : ` (${reason})`;
      const from = `${nic.direct.device}, ${nic.direct.model}`;
      return ['Device', `${nic.id}: ${from} → ${target.id}, ${target.model}${told}`] as const;
    }),
    ...result.decisions
      .filter(({ action }) => action.startsWith('disk '))
      .map(({ action, reason }) => ['Disk', `${action.slice('disk '.length)} (${reason})`] as const),
    ['Continuity', why(result.continuity)],
    ['Memory', why(result.strategy)],
    [
      'Shadow',
      `${shadow.captured} attributes: ${shadow.restored.length} to be restored, ${shadow.adapted.length} adapted, ${shadow.lost.length} lost`,
    ],
    ['Estimate', estimate(foreseen)],
  ] as const;
  const width = Math.max(...table.map(([name]) => name.length));
  return `${[
    ...table.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`),
    ...outcomeLines(shadow),
    ...result.warnings.map((text) => `  warning: ${text}`),
  ].join('\n')}\n`;
}
