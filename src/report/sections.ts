/** The page's sections of words and tables: key numbers, shadow, connections, events, decisions, warnings. */
import { formatBytes, formatMs, formatMsExact } from '../base/units.ts';
import { type Markup, markup } from './markup.ts';
import type { MigrationReport } from './model.ts';
import { table } from './table.ts';
import { numberedMarks } from './timeline-layout.ts';

function tile(name: string, value: string, note: string, look: 'plain' | 'good' | 'warn' | 'bad'): Markup {
  return markup`<div class="tile ${look}"><dt>${name}</dt><dd><span class="value">${value}</span> <span class="note">${note}</span></dd></div>
`;
}

function outageTile(protocol: string, ms: number | null, gaps: number): Markup {
  if (ms === null) return tile(`Outage, ${protocol}`, '–', 'not measured', 'plain');
  const note = gaps > 1 ? `longest of ${gaps} gaps` : 'longest gap, seen by a peer';
  return tile(`Outage, ${protocol}`, formatMs(ms), note, 'plain');
}

/** Captured attributes without an outcome; negative when there are more outcomes than attributes. */
function untold({ shadow }: MigrationReport): number {
  return shadow.captured - shadow.restored.length - shadow.adapted.length - shadow.lost.length;
}

function lostTile(report: MigrationReport): Markup {
  const { lost } = report.shadow;
  const missing = untold(report);
  if (lost.length > 0) return tile('Lost', String(lost.length), 'each with its reason', 'bad');
  // No loss is good news only when every attribute has its outcome.
  if (missing > 0) return tile('Lost', '0', `${missing} without an outcome`, 'plain');
  return tile('Lost', '0', 'nothing lost', 'good');
}

function connectionsTile({ connections }: MigrationReport): Markup {
  const { opened, survived, outOfOrder, corrupt } = connections;
  if (opened === 0) return tile('Connections', '–', 'none watched', 'plain');
  const flaws = [
    survived < opened ? `${opened - survived} broken` : '',
    outOfOrder > 0 ? `${outOfOrder} records out of order` : '',
    corrupt > 0 ? `${corrupt} records corrupt` : '',
  ].filter((flaw) => flaw !== '');
  const note = flaws.join(', ') || 'alive, in order, intact';
  return tile('Connections', `${survived} of ${opened}`, note, flaws.length === 0 ? 'good' : 'bad');
}

/** The key numbers as tiles. */
export function tiles(report: MigrationReport): Markup {
  const { shadow } = report;
  return markup`<dl class="tiles">
${outageTile('TCP', report.outageMs.tcp, report.gaps.tcp.length)}${outageTile('ICMP', report.outageMs.icmp, report.gaps.icmp.length)}${tile(
  'Blackout',
  formatMs(report.blackoutMs),
  'vCPUs stopped',
  'plain',
)}${tile('Total', formatMs(report.totalMs), 'first to last phase', 'plain')}${tile(
  'Memory moved',
  formatBytes(report.memoryBytes),
  report.strategy,
  'plain',
)}${connectionsTile(report)}${tile('Restored', String(shadow.restored.length), `of ${shadow.captured} attributes`, 'plain')}${tile(
  'Adapted',
  String(shadow.adapted.length),
  'restored another way',
  shadow.adapted.length > 0 ? 'warn' : 'plain',
)}${lostTile(report)}</dl>`;
}

/** A key with the NIC that it is of, where there are several. */
const named = (nic: string | undefined, key: string): string => (nic === undefined ? key : `${nic} ${key}`);

/** First word of an attribute's key: what it is grouped by. */
export function keyGroup(key: string): string {
  return /^[A-Za-z][\w-]*/.exec(key)?.[0] ?? 'other';
}

function lostPart(report: MigrationReport): Markup {
  const { lost } = report.shadow;
  if (lost.length === 0 && untold(report) > 0) return markup`<h3>Lost</h3><p>No loss was recorded.</p>`;
  if (lost.length === 0) return markup`<h3>Lost</h3><p class="good">Nothing lost.</p>`;
  return markup`<h3>Lost</h3>${table(
    `${lost.length} lost`,
    [
      { title: 'Attribute', kind: 'code' },
      { title: 'Was', kind: 'code' },
      { title: 'Why', kind: 'wide' },
    ],
    lost.map(({ nic, key, value, why }) => [named(nic, key), value, why]),
  )}`;
}

function adaptedPart({ adapted }: MigrationReport['shadow']): Markup {
  if (adapted.length === 0) return markup`<h3>Adapted</h3><p>Nothing had to be adapted.</p>`;
  return markup`<h3>Adapted</h3>${table(
    `${adapted.length} adapted`,
    [
      { title: 'Attribute', kind: 'code' },
      { title: 'Was', kind: 'code' },
      { title: 'Now', kind: 'code' },
      { title: 'How', kind: 'wide' },
    ],
    adapted.map(({ nic, key, value, now, how }) => [named(nic, key), value, now, how]),
  )}`;
}

function restoredPart({ restored }: MigrationReport['shadow']): Markup {
  if (restored.length === 0) return markup`<h3>Restored</h3><p>Nothing was restored.</p>`;
  const groups = Map.groupBy(restored, ({ key }) => keyGroup(key));
  return markup`<h3>Restored</h3>${[...groups].map(
    ([name, members]) =>
      markup`<details><summary>${name} <span class="note">${members.length}</span></summary>${table(
        `${members.length} restored`,
        [
          { title: 'Attribute', kind: 'code' },
          { title: 'Value', kind: 'code' },
        ],
        members.map(({ nic, key, value }) => [named(nic, key), value]),
      )}</details>
`,
  )}`;
}

/** What became of every attribute of the shadow; what is not accounted for is said. */
export function shadowSection(report: MigrationReport): Markup {
  const { shadow } = report;
  const missing = untold(report);
  return markup`<p>${shadow.captured} attributes captured: ${shadow.restored.length} restored, ${shadow.adapted.length} adapted, ${shadow.lost.length} lost.</p>${
    missing !== 0 &&
    markup`<p class="bad">${missing > 0 ? `${missing} captured attributes have no outcome in this report.` : `${-missing} more outcomes than captured attributes.`}</p>`
  }${lostPart(report)}${adaptedPart(shadow)}${restoredPart(shadow)}`;
}

/** The connections that a peer held open, one by one where they were recorded. */
export function connectionsSection({ connections }: MigrationReport): Markup {
  const { opened, survived, outOfOrder, corrupt, each = [] } = connections;
  if (opened === 0) return markup`<p>No connections were watched.</p>`;
  return markup`<p>${opened} opened before the migration, ${survived} alive after it; ${outOfOrder} records out of order, ${corrupt} corrupt.</p>${
    each.length > 0 &&
    table(
      'Connections',
      [
        { title: 'Connection', kind: 'wide' },
        { title: 'Survived' },
        { title: 'Bytes', kind: 'number' },
        { title: 'Longest stall', kind: 'number' },
      ],
      each.map(({ kind, survived: alive, bytes, longestStallMs }) => [
        kind,
        markup`<span class="${alive ? 'good' : 'bad'}">${alive ? 'yes' : 'no'}</span>`,
        formatBytes(bytes),
        formatMs(longestStallMs),
      ]),
    )
  }`;
}

/** The marks in order of time, numbered as in the picture. */
export function eventsTable(report: MigrationReport): Markup {
  const marks = numberedMarks(report);
  if (marks.length === 0) return markup`<p>No events were recorded.</p>`;
  return table(
    `${marks.length} events`,
    [
      { title: 'No.', kind: 'number' },
      { title: 'At', kind: 'number' },
      { title: 'Event' },
      { title: 'Detail', kind: 'wide' },
    ],
    marks.map(({ mark, number }) => [number, formatMsExact(mark.atMs), mark.name, mark.detail]),
  );
}

/** Decisions with their reasons, in order of time. */
export function decisionsSection({ decisions }: MigrationReport): Markup {
  if (decisions.length === 0) return markup`<p>No decisions were recorded.</p>`;
  return table(
    `${decisions.length} decisions`,
    [{ title: 'At', kind: 'number' }, { title: 'Decision' }, { title: 'Reason', kind: 'wide' }],
    decisions
      .toSorted((a, b) => a.atMs - b.atMs)
      .map(({ atMs, action, reason }) => [formatMsExact(atMs), action, reason]),
  );
}

/** Warnings, or that there are none. */
export function warningsSection({ warnings }: MigrationReport): Markup {
  if (warnings.length === 0) return markup`<p>No warnings.</p>`;
  return markup`<ul class="warnings">${warnings.map((warning) => markup`<li>${warning}</li>`)}</ul>`;
}
