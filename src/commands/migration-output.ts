/** How the result of a migration is printed: one JSON line for programs, a table for people, a record for the page. */
import { formatBytes, formatMs } from '../base/units.ts';
import { CATALOGUE, KINDS, ShadowferryError } from '../errors.ts';
import type { ProbeResult } from '../lab/probe/probes.ts';
import type { MigrationResult, NicResult, ShadowResult } from '../migration/result.ts';
import type { MigrationReport, NicOutcome } from '../report/model.ts';

/** What was seen from outside, where somebody looked. */
export type Observation = Pick<ProbeResult, 'connections' | 'outageMs' | 'gaps' | 'throughput'>;

const round = (ms: number) => Math.round(ms * 10) / 10;

/** Exit code of a command whose migration did not end well. */
export function exitCodeOf(result: MigrationResult): number {
  const error = errorOf(result);
  return KINDS[error === undefined ? 'failed' : CATALOGUE[error.code].kind].exit;
}

/** Why a migration did not end well: of a degraded one, that it is, and how to go on. */
export function errorOf(result: MigrationResult): MigrationResult['error'] {
  if (result.ending !== 'degraded') return result.error;
  const { vm, destination: host } = result;
  const { code, message, fix } = new ShadowferryError('DEGRADED', {
    vm,
    host,
    why: whyDegraded(result),
  });
  return { code, message, fix };
}

function shadowLine({ captured, restored, adapted, lost }: ShadowResult): Record<string, unknown> {
  const of = (nic: string | undefined) => (nic === undefined ? {} : { nic });
  return {
    captured,
    restored: restored.length,
    adapted: adapted.map(({ nic, key, value, now, how }) => ({ ...of(nic), key, value, now, how })),
    lost: lost.map(({ nic, key, value, why }) => ({ ...of(nic), key, value, why })),
  };
}

/** What was not restored, a line each, with its NIC where there are several. */
export function outcomeLines({ adapted, lost }: ShadowResult): string[] {
  const of = (nic: string | undefined) => (nic === undefined ? '' : `${nic} `);
  return [
    ...adapted.map(
      ({ nic, key, value, now, how }) => `  adapted: ${of(nic)}${key} ${value} → ${now}: ${how}`,
    ),
    ...lost.map(({ nic, key, why }) => `  lost: ${of(nic)}${key}: ${why}`),
  ];
}

/** Of several NICs, each that has no device is named with its reason. */
function whyDegraded({ error, nics }: MigrationResult): string {
  const each = nics.flatMap((nic) => (nic.error === undefined ? [] : [`${nic.nic}: ${nic.error.message}`]));
  if (nics.length > 1 && each.length > 0) return each.join('; ');
  return error?.message ?? 'the device is missing';
}

function nicOutcome({ nic, network, from, to, continuity, shadow, error }: NicResult): NicOutcome {
  return {
    ...{ nic, from, to },
    ...(network === undefined ? {} : { network }),
    ...(continuity === undefined ? {} : { continuity }),
    captured: shadow.captured,
    restored: shadow.restored.length,
    adapted: shadow.adapted.length,
    lost: shadow.lost.length,
    ...(error === undefined ? {} : { error: error.message }),
  };
}

/** The last line of `--json`. */
export function resultLine(
  result: MigrationResult,
  observed: Observation | undefined,
): Record<string, unknown> {
  const { shadow } = result;
  const error = errorOf(result);
  const { opened = 0, survived = 0, outOfOrder = 0, corrupt = 0 } = observed?.connections ?? {};
  return {
    type: 'result',
    ...(result.kind === undefined ? {} : { kind: result.kind }),
    ok: result.ok && (observed === undefined || (survived === opened && outOfOrder === 0 && corrupt === 0)),
    ending: result.ending,
    id: result.id,
    vm: result.vm,
    source: result.source,
    destination: result.destination,
    from: result.from,
    to: result.to ?? null,
    continuity: result.continuity ?? null,
    strategy: result.strategy ?? null,
    ...(observed === undefined ? {} : { connections: { opened, survived, outOfOrder, corrupt } }),
    outageMs:
      observed === undefined
        ? null
        : {
            tcp: round(observed.outageMs.tcp),
            icmp: observed.outageMs.icmp === null ? null : round(observed.outageMs.icmp),
          },
    blackoutMs: result.blackoutMs === null ? null : round(result.blackoutMs),
    qemuDowntimeMs: result.qemuDowntimeMs,
    totalMs: round(result.totalMs),
    memoryBytes: result.memoryBytes,
    phases: result.phases.map(({ name, startMs, durationMs }) => ({
      name,
      startMs: round(startMs),
      durationMs: round(durationMs),
    })),
    marks: result.marks,
    shadow: shadowLine(shadow),
    nics: result.nics.map((nic) => ({
      ...nic,
      continuity: nic.continuity ?? null,
      shadow: shadowLine(nic.shadow),
    })),
    decisions: result.decisions,
    warnings: result.warnings,
    ...(error === undefined ? {} : { error }),
    left: result.left,
  };
}

/** The record that the report page is made from. */
export function reportOf(
  result: MigrationResult,
  observed: Observation | undefined,
  host: MigrationReport['host'],
): MigrationReport {
  const zero = result.startedAtMs;
  const shift = (gaps: readonly { startMs: number; ms: number }[]) =>
    gaps.map((gap) => ({ startMs: gap.startMs - zero, ms: gap.ms }));
  const stopped = result.marks.findLast(({ name }) => name === 'vCPUs stopped')?.atMs;
  return {
    vm: result.vm,
    source: result.source,
    destination: result.destination,
    from: result.from,
    to: result.to ?? { model: 'none', driver: 'none' },
    continuity: result.continuity ?? 'replay',
    strategy: result.strategy ?? 'none',
    strategyReason: result.decisions.findLast(({ action }) => action === result.strategy)?.reason ?? '',
    ok: result.ok,
    ...(result.ending === 'degraded' ? { degraded: whyDegraded(result) } : {}),
    ...(result.error === undefined || result.ending === 'degraded' ? {} : { error: result.error }),
    startedAtMs: zero,
    totalMs: result.totalMs,
    blackoutMs: result.blackoutMs ?? 0,
    ...(stopped === undefined ? {} : { blackoutStartMs: stopped }),
    outageMs: observed?.outageMs ?? { tcp: null, icmp: null },
    memoryBytes: result.memoryBytes,
    connections: observed?.connections ?? { opened: 0, survived: 0, outOfOrder: 0, corrupt: 0 },
    phases: result.phases,
    steps: result.steps,
    marks: result.marks,
    gaps: { tcp: shift(observed?.gaps.tcp ?? []), icmp: shift(observed?.gaps.icmp ?? []) },
    throughput: (observed?.throughput ?? []).map((sample) => ({ ...sample, atMs: sample.atMs - zero })),
    progress: result.progress.filter(({ of }) => of === undefined),
    shadow: result.shadow,
    nics: result.nics.map(nicOutcome),
    warnings: result.warnings,
    host,
    decisions: result.decisions,
  };
}

function rows(result: MigrationResult, observed: Observation | undefined): [string, string][] {
  const { shadow, from, to } = result;
  const device = (end: { model: string; driver: string } | undefined) =>
    end === undefined ? 'none' : `${end.model} (driver ${end.driver})`;
  const devices = result.nics.map((nic): [string, string] => {
    const there = nic.to.driver === null ? undefined : { model: nic.to.model, driver: nic.to.driver };
    const why = nic.error === undefined ? '' : `: ${nic.error.message}`;
    return ['Device', `${nic.nic}: ${device(nic.from)} → ${device(there)}, ${nic.continuity ?? '-'}${why}`];
  });
  const memory = result.kind === undefined ? `, memory by ${result.strategy ?? '-'}` : '';
  const told: [string, string][] = [
    result.kind === undefined
      ? ['VM', `${result.vm}, ${result.source} → ${result.destination}: ${result.ending}`]
      : [result.kind === 'swap' ? 'Swap' : 'Rescue', `${result.vm} on ${result.source}: ${result.ending}`],
    ...(devices.length > 1
      ? devices
      : [['Device', `${device(from)} → ${device(to)}`] satisfies [string, string]]),
    ['Continuity', `${result.continuity ?? '-'}${memory}`],
  ];
  if (observed !== undefined) {
    const { connections, outageMs } = observed;
    const bad = `${connections.outOfOrder} out of order, ${connections.corrupt} corrupt`;
    told.push(['Connections', `${connections.survived} of ${connections.opened} survived, ${bad}`]);
    const icmp = outageMs.icmp === null ? 'not measured' : formatMs(outageMs.icmp);
    told.push(['Outage', `TCP ${formatMs(outageMs.tcp)}, ICMP ${icmp} (longest gap, from outside)`]);
  }
  if (result.blackoutMs !== null) told.push(['Blackout', `${formatMs(result.blackoutMs)} (vCPUs stopped)`]);
  if (result.kind === undefined) told.push(['Memory', `${formatBytes(result.memoryBytes)} sent`]);
  if (result.ending === 'completed') {
    const counts = `${shadow.restored.length} restored, ${shadow.adapted.length} adapted, ${shadow.lost.length} lost`;
    told.push(['Shadow', `${shadow.captured} attributes captured: ${counts}`]);
  }
  const persisted = result.nics.flatMap((nic) => nic.persisted ?? []);
  if (persisted.length > 0) told.push(['After a boot', `the same, by ${persisted.join(', ')}`]);
  const phases = result.phases.map(({ name, durationMs }) => `${name} ${formatMs(durationMs)}`).join(', ');
  told.push(['Total', `${formatMs(result.totalMs)}: ${phases}`]);
  return told;
}

/** The table that a migration ends with. */
export function renderResult(result: MigrationResult, observed: Observation | undefined): string {
  const table = rows(result, observed);
  const width = Math.max(...table.map(([name]) => name.length));
  const lines = table.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`);
  lines.push(...outcomeLines(result.shadow));
  for (const text of result.warnings) lines.push(`  warning: ${text}`);
  for (const text of result.left) lines.push(`  left to do: ${text}`);
  const error = errorOf(result);
  if (error) lines.push(`  ${error.message} (${error.code})`, `  ${error.fix}`);
  return `${lines.join('\n')}\n`;
}
