/** The report page: one HTML file that says what a migration did, complete without network, scripts or colours. */
import { createHash } from 'node:crypto';
import { formatBytes, formatMs, formatRate } from '../base/units.ts';
import { gantt } from './gantt.ts';
import { type Markup, markup, type Part, trusted } from './markup.ts';
import type { MigrationReport } from './model.ts';
import { nicsSection } from './nics.ts';
import { PAGE_SCRIPT } from './page-script.ts';
import { pageStyle } from './page-style.ts';
import { drawProgress, hasCurve } from './progress-svg.ts';
import {
  connectionsSection,
  decisionsSection,
  eventsTable,
  shadowSection,
  tiles,
  warningsSection,
} from './sections.ts';
import { headline, type Verdict, verdict } from './sentence.ts';
import { focusWindow, type Window, wholeWindow } from './series.ts';
import type { WidthName } from './timeline-layout.ts';
import { drawTimeline } from './timeline-svg.ts';

/** Widths in which pictures are drawn, in pixels; the style sheet shows the one that fits. */
const WIDTHS = [
  ['broad', 1038],
  ['middle', 660],
  ['slim', 342],
] as const satisfies [WidthName, number][];

const VERDICTS: Record<Verdict, { text: string; look: string }> = {
  done: { text: 'Migrated', look: 'good' },
  degraded: { text: 'Migrated, degraded', look: 'warn' },
  failed: { text: 'Failed', look: 'bad' },
};

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** Only the page's own style sheet and script may act: even markup that slipped in could load or run nothing. */
function policy(style: string): string {
  return `default-src 'none'; style-src ${hashOf(style)}; script-src ${hashOf(PAGE_SCRIPT)}; base-uri 'none'; form-action 'none'`;
}

function section(title: string, body: Part, look = ''): Markup {
  return markup`<section${look !== '' && markup` class="${look}"`}><h2>${title}</h2>${body}</section>
`;
}

/** One picture in several widths, of which the style sheet shows one: text keeps its size on a phone. */
function figure(caption: string, draw: (width: number, kind: WidthName) => Part): Markup {
  return markup`<figure><figcaption>${caption}</figcaption>${WIDTHS.map(([kind, width]) => draw(width, kind))}<p class="readout" aria-hidden="true"></p></figure>
`;
}

function timelineFigure(
  report: MigrationReport,
  caption: string,
  window: Window,
  id: string,
  enlarged?: Window,
): Markup {
  return figure(caption, (width, kind) =>
    drawTimeline(report, {
      width,
      height: enlarged ? 250 : kind === 'slim' ? 360 : 400,
      window,
      id: `${id}-${kind}`,
      alone: false,
      className: kind,
      enlarged,
    }),
  );
}

function timelines(report: MigrationReport): Markup {
  const focus = focusWindow(report);
  const whole = timelineFigure(
    report,
    focus
      ? 'The whole migration; the outlined part is the picture above.'
      : 'Traffic of the streams that a peer outside held open, over the phases of the migration.',
    wholeWindow(report),
    'whole',
    focus,
  );
  const near =
    focus &&
    timelineFigure(
      report,
      'Traffic of the streams that a peer outside held open, from the detach to the end of the attach.',
      focus,
      'near',
    );
  return markup`${near}${whole}<details><summary>Events <span class="note">${report.marks.length}</span></summary>${eventsTable(report)}</details>`;
}

function memory(report: MigrationReport): Markup {
  const moved = `${formatBytes(report.memoryBytes)} of memory crossed the network.`;
  if (!hasCurve(report)) return markup`<p>${moved} Too few progress samples for a curve.</p>`;
  const top = (pick: (sample: MigrationReport['progress'][number]) => number) =>
    formatRate(report.progress.reduce((most, sample) => Math.max(most, pick(sample)), 0));
  const text = `${moved} Sent at up to ${top((sample) => sample.rateBps)}; the guest dirtied up to ${top((sample) => sample.dirtyRateBps)}.`;
  return figure(text, (width, kind) =>
    drawProgress(report, { width, height: 230, id: `memory-${kind}`, className: kind }),
  );
}

function notices(report: MigrationReport): Markup {
  const { error, degraded } = report;
  return markup`${
    error &&
    markup`<div class="notice bad" role="note"><p><strong>${error.code}</strong>: ${error.message}</p><p>${error.fix}</p></div>`
  }${
    degraded !== undefined &&
    markup`<div class="notice warn" role="note"><p><strong>Runs without its direct device</strong>: ${degraded}</p></div>`
  }${
    !report.ok &&
    !error &&
    degraded === undefined &&
    markup`<div class="notice bad" role="note"><p>No error was recorded.</p></div>`
  }`;
}

function facts(report: MigrationReport): Markup {
  const { host, from, to } = report;
  const emulated = host.accelerator.toLowerCase() === 'tcg';
  const rows: [string, string][] = [
    [
      'Device',
      `${from.model} (driver ${from.driver}) on the source, ${to.model} (driver ${to.driver}) on the destination`,
    ],
    ['Continuity', report.continuity],
    ['Strategy', `${report.strategy}: ${report.strategyReason}`],
    [
      'Hosts',
      `${report.source} to ${report.destination}; QEMU ${host.qemu}, ${host.accelerator}${host.kernel === undefined ? '' : `, kernel ${host.kernel}`}`,
    ],
  ];
  if (emulated) {
    rows.push(['Note', 'The CPU was emulated (TCG): times are longer and noisier than on hardware.']);
  }
  return markup`<dl class="facts">${rows.map(([name, text]) => markup`<dt>${name}</dt><dd>${text}</dd>`)}</dl>`;
}

/**
 * Renders the record of one migration, done, degraded or failed, as one self-contained HTML file.
 * Every string of the report is escaped; nothing is loaded from elsewhere.
 */
export function renderReport(report: MigrationReport): string {
  const style = pageStyle();
  const devices = nicsSection(report);
  const title = headline(report);
  const end = VERDICTS[verdict(report)];
  const started = new Date(report.startedAtMs).toISOString();
  const warned =
    report.warnings.length > 0 &&
    markup` <a class="sub" href="#warnings">${report.warnings.length} ${report.warnings.length === 1 ? 'warning' : 'warnings'}</a>`;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(policy(style))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${trusted(style)}</style>
</head>
<body>
<header>
<p><span class="verdict ${end.look}">${end.text}</span>${warned}</p>
<h1>${title}</h1>
<p class="sub">Started <time datetime="${started}">${started.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}</time></p>
${notices(report)}${tiles(report)}
</header>
<main>
${devices === undefined ? '' : section('Devices', devices)}${section('What happened over time', timelines(report))}${section('Where the time went', gantt(report), 'gantt')}${section(
  'Memory',
  memory(report),
)}${section('What became of the shadow', shadowSection(report), 'shadow')}${section(
  'Connections',
  connectionsSection(report),
)}${section('Decisions and their reasons', decisionsSection(report))}<section id="warnings"><h2>Warnings</h2>${warningsSection(report)}</section>
${section('Setting', facts(report))}</main>
<footer><p>Times are relative to the start. Outage: no traffic, seen by a peer outside. Blackout: vCPUs stopped. Total ${formatMs(report.totalMs)}.</p></footer>
<script>${trusted(PAGE_SCRIPT)}</script>
</body>
</html>
`.toString();
}
