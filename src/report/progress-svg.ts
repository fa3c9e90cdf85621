/** The memory curve: bytes sent and bytes left over time. */
import { scaleLinear } from 'd3-scale';
import { area, line } from 'd3-shape';
import { formatBytes, formatMs, formatRate } from '../base/units.ts';
import { byteTicks, timeTicks } from './axis.ts';
import { jsonAttribute, type Markup, markup, trusted } from './markup.ts';
import type { MigrationReport, ProgressSample } from './model.ts';
import { textWidth } from './text.ts';
import type { WidthName } from './timeline-layout.ts';

const FONT = 11;
/** More samples than this are thinned: a pixel shows one. */
const MOST_POINTS = 600;

/** Samples in order of time, thinned to a bounded number, first and last kept. */
export function thinned(samples: readonly ProgressSample[]): ProgressSample[] {
  const sorted = samples.toSorted((a, b) => a.atMs - b.atMs);
  if (sorted.length <= MOST_POINTS) return sorted;
  const stride = (sorted.length - 1) / (MOST_POINTS - 1);
  return Array.from({ length: MOST_POINTS }, (_, i) => sorted[Math.round(i * stride)]).filter(
    (sample) => sample !== undefined,
  );
}

/** Whether there are two moments to draw a curve between. */
export function hasCurve(report: MigrationReport): boolean {
  const first = report.progress[0]?.atMs;
  return first !== undefined && report.progress.some((sample) => Math.abs(sample.atMs - first) >= 0.001);
}

/** The curve as an svg element for the page, or undefined when there are no two moments to draw between. */
export function drawProgress(
  report: MigrationReport,
  options: { width: number; height: number; id: string; className: WidthName },
): Markup | undefined {
  const samples = thinned(report.progress);
  const first = samples[0];
  const last = samples.at(-1);
  if (!first || !last || !hasCurve(report)) return undefined;
  const { width, height, id } = options;
  const narrow = width < 560;
  const left = narrow ? 8 : 84;
  const right = width - 16;
  const bottom = height - 42;
  const top = 10;
  const max = samples.reduce((most, sample) => Math.max(most, sample.transferred, sample.remaining), 0);
  const ticks = byteTicks(max, 4);
  const x = scaleLinear().domain([first.atMs, last.atMs]).range([left, right]);
  const y = scaleLinear()
    .domain([0, ticks.at(-1)?.value ?? 1])
    .range([bottom, top]);
  const at = (sample: ProgressSample) => x(sample.atMs);
  const remaining =
    area<ProgressSample>(at, bottom, (sample) => y(sample.remaining)).digits(1)(samples) ?? '';
  const sent = line<ProgressSample>(at, (sample) => y(sample.transferred)).digits(1)(samples) ?? '';
  const readouts = samples.map((sample) => [
    Math.round(at(sample) * 10) / 10,
    `${formatMs(sample.atMs)}: sent ${formatBytes(sample.transferred)} at ${formatRate(sample.rateBps)}, left ${formatBytes(sample.remaining)}, dirtied ${formatRate(sample.dirtyRateBps)}`,
  ]);
  const description = `Memory sent rises to ${formatBytes(last.transferred)}; ${formatBytes(last.remaining)} are left at the last sample, ${formatMs(last.atMs)} after the start.`;
  const grid = ticks.map(
    (tick) =>
      markup`<path class="sf-grid" d="M${left} ${y(tick.value)}H${right}"/>${
        narrow
          ? tick.value > 0 &&
            markup`<text class="sf-quiet sf-halo" x="${left + 2}" y="${y(tick.value) + 11}" font-size="10">${tick.label}</text>`
          : markup`<text class="sf-quiet" x="${left - 6}" y="${y(tick.value) + 4}" text-anchor="end" font-size="${FONT}">${tick.label}</text>`
      }`,
  );
  const times = timeTicks(first.atMs, last.atMs, narrow ? 4 : 9).map((tick) => {
    const half = textWidth(tick.label, FONT) / 2;
    const middle = Math.max(half, Math.min(x(tick.value), width - half));
    return markup`<path class="sf-base" d="M${x(tick.value)} ${bottom}v4"/><text class="sf-quiet" x="${middle}" y="${bottom + 16}" text-anchor="middle" font-size="${FONT}">${tick.label}</text>`;
  });
  const legendY = height - 8;
  const secondEntry = left + 30 + textWidth('sent', FONT) + 12;
  return markup`<svg xmlns="http://www.w3.org/2000/svg" class="sf ${options.className}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="${id}-title ${id}-desc" data-readouts="${jsonAttribute(readouts)}"><title id="${id}-title">Memory sent and left over time</title><desc id="${id}-desc">${description}</desc><path class="sf-left" d="${trusted(remaining)}"/>${grid}<path class="sf-in" d="${trusted(sent)}"/><path class="sf-base" d="M${left} ${bottom}H${right}"/>${times}<path class="sf-in" d="M${left} ${legendY - 4}h16"/><text class="sf-quiet" x="${left + 21}" y="${legendY}" font-size="${FONT}">sent</text><rect class="sf-left" x="${secondEntry}" y="${legendY - 9}" width="16" height="11"/><text class="sf-quiet" x="${secondEntry + 21}" y="${legendY}" font-size="${FONT}">left to send</text><path class="sf-cursor" visibility="hidden" d="M0 ${top}V${bottom}"/></svg>`;
}
