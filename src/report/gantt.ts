/** Where the time went: every step as a row with a bar, the critical ones marked, and what no step accounts for. */
import { formatMsExact } from '../base/units.ts';
import { type Markup, markup, trusted } from './markup.ts';
import type { MigrationReport, Step } from './model.ts';
import { covered, criticalWindow, focusWindow, type Window, wholeWindow } from './series.ts';
import { table } from './table.ts';

/** Units across a bar's drawing; it is stretched to its cell. */
const ACROSS = 1000;

function bar(step: Step, report: MigrationReport, window: Window): Markup {
  const span = window.endMs - window.startMs;
  const place = (startMs: number, durationMs: number, least: number) => {
    const from = Math.max(0, ((startMs - window.startMs) / span) * ACROSS);
    const to = Math.min(ACROSS, ((startMs + durationMs - window.startMs) / span) * ACROSS);
    const width = Math.max(to - from, least);
    return { from: Math.min(from, ACROSS - width), width };
  };
  const phases = report.phases
    .filter(
      (phase) =>
        phase.name === step.phase &&
        phase.startMs < window.endMs &&
        phase.startMs + phase.durationMs > window.startMs,
    )
    .map((phase) => {
      const at = place(phase.startMs, phase.durationMs, 0);
      return markup`<rect class="sf-p-${trusted(phase.name)} bar-phase" x="${at.from}" y="0" width="${at.width}" height="20"/>`;
    });
  const at = place(step.startMs, step.durationMs, 4);
  const look = step.critical ? 'bar-critical' : `sf-p-${step.phase}`;
  return markup`<svg class="bar" viewBox="0 0 ${ACROSS} 20" preserveAspectRatio="none" aria-hidden="true" focusable="false">${phases}<rect class="${trusted(look)}" x="${at.from}" y="5" width="${at.width}" height="10"/></svg>`;
}

function rows(report: MigrationReport, steps: readonly Step[], window: Window): Markup[][] {
  return steps
    .toSorted((a, b) => a.startMs - b.startMs || b.durationMs - a.durationMs)
    .map((step) => [
      markup`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true" focusable="false"><rect class="sf-p-${trusted(step.phase)}" width="10" height="10" rx="2"/></svg> ${step.phase}`,
      markup`<span class="${step.critical ? 'critical' : 'plain'}">${step.name}</span>${step.critical && markup` <span class="tag">critical</span>`}${step.detail && markup`<span class="detail">${step.detail}</span>`}`,
      bar(step, report, window),
      markup`${formatMsExact(step.startMs)}`,
      markup`${formatMsExact(step.durationMs)}`,
    ]);
}

/** How the critical steps add up between the detach and the end of the attach; undefined without a detach. */
export function accounting(report: MigrationReport): string | undefined {
  const window = criticalWindow(report);
  if (!window) return undefined;
  const span = window.endMs - window.startMs;
  const explained = covered(
    report.steps.filter((step) => step.critical),
    window,
  );
  const named = covered(report.steps, window);
  const rest = span - named;
  const unnamed =
    rest < 0.05 ? 'every millisecond belongs to a step' : `${formatMsExact(rest)} belong to no step`;
  return `From the detach to the end of the attach: ${formatMsExact(span)}. Critical steps run in ${formatMsExact(explained)} of them; ${unnamed}.`;
}

function part(report: MigrationReport, caption: string, steps: readonly Step[], window: Window): Markup {
  return table(
    `${caption}: bars from ${formatMsExact(window.startMs)} to ${formatMsExact(window.endMs)}`,
    [
      { title: 'Phase' },
      { title: 'Step', kind: 'wide' },
      { title: 'When' },
      { title: 'Start', kind: 'number' },
      { title: 'Took', kind: 'number' },
    ],
    rows(report, steps, window),
  );
}

/**
 * The steps as tables with bars. When what lies between detach and attach is small beside the rest, it gets a table
 * and a scale of its own.
 */
export function gantt(report: MigrationReport): Markup {
  if (report.steps.length === 0) return markup`<p>No steps were recorded.</p>`;
  const all = wholeWindow(report);
  const whole: Window = { startMs: Math.max(0, all.startMs), endMs: Math.max(report.totalMs, 1) };
  const critical = criticalWindow(report);
  const note = accounting(report);
  const intro = note && markup`<p>${note}</p>`;
  if (!critical || !focusWindow(report)) {
    return markup`${intro}${part(report, 'All steps', report.steps, whole)}`;
  }
  const inside = report.steps.filter(
    (step) => step.startMs < critical.endMs && step.startMs + step.durationMs > critical.startMs,
  );
  const outside = report.steps.filter((step) => !inside.includes(step));
  return markup`${intro}${part(report, 'Between detach and attach', inside, critical)}${
    outside.length > 0 && part(report, 'Before and after', outside, whole)
  }`;
}
