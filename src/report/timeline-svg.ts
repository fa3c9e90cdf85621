/** The main picture: the peer's traffic over the phases, with blackout, outage, gaps and marks. */
import { scaleLinear } from 'd3-scale';
import { area, curveStepAfter, line } from 'd3-shape';
import { formatMs, formatMsExact, formatRate } from '../base/units.ts';
import { byteTicks, timeTicks } from './axis.ts';
import { jsonAttribute, type Markup, markup, type Part, trusted, visible } from './markup.ts';
import type { MigrationReport } from './model.ts';
import { pictureStyle, type Theme } from './palette.ts';
import { headline } from './sentence.ts';
import {
  binned,
  blackoutSpan,
  focusWindow,
  longestGap,
  type Rate,
  rates,
  type Window,
  wholeWindow,
} from './series.ts';
import { BOLD, textWidth, wrapText } from './text.ts';
import { drawKey } from './timeline-key.ts';
import { gapLane, lane, spanX } from './timeline-lanes.ts';
import { FONT_SIZE, type Layout, layoutTimeline, ROW, type WidthName } from './timeline-layout.ts';

export interface TimelineOptions {
  /** Pixels. */
  width: number;
  /** Pixels; the picture grows beyond it when its labels leave the plot too little room. */
  height: number;
  theme: Theme;
  /** What to show; without it the whole migration, or what lies around the detach when that would be too small. */
  window?: Window;
}

interface DrawOptions {
  width: number;
  height: number;
  window: Window;
  /** Distinguishes the ids of several pictures in one page. */
  id: string;
  /** Draw the headline and a background: the picture stands alone. */
  alone: boolean;
  className?: WidthName;
  /** A part that another picture shows: it is outlined here and its marks are left to that picture. */
  enlarged?: Window | undefined;
}

const SMALLEST_PLOT = 110;
const LANE = 18;
const LANES = 3;
const TITLE_SIZE = 13;
const FONT_ATTRIBUTES = trusted(`font-size="${FONT_SIZE}"`);

function phaseHeader(layout: Layout, top: number, plotBottom: number): Markup {
  const strip = top + ROW + 7;
  return markup`<g>${layout.phases.map(({ phase, from, to, label }) => {
    const width = Math.max(to - from, 1);
    const middle = (from + to) / 2;
    const name = trusted(`sf-p-${phase.name}`);
    return markup`<rect class="${name} sf-tint" x="${from}" y="${strip}" width="${width}" height="${plotBottom - strip}"/><rect class="${name}" x="${from}" y="${strip}" width="${width}" height="6"><title>${phase.name}: ${formatMs(phase.durationMs)}</title></rect>${
      label &&
      markup`<path class="sf-leader" d="M${label.left + label.width / 2} ${top + ROW - 1}L${middle} ${strip - 1}"/><text x="${label.left + label.width / 2}" y="${top + FONT_SIZE}" text-anchor="middle" ${FONT_ATTRIBUTES}>${label.text}</text>`
    }`;
  })}</g>`;
}

function marks(layout: Layout, top: number, plotTop: number, plotBottom: number): Markup {
  return markup`<g>${layout.marks.map(({ mark, x, label }) => {
    const rowTop = label ? plotTop - (label.row + 1) * ROW : top;
    return markup`<g><title>${mark.name}: ${formatMsExact(mark.atMs)}${mark.detail && `, ${mark.detail}`}</title><path class="sf-mark" d="M${x} ${rowTop + 2}V${plotBottom}"/>${
      label &&
      markup`<text class="sf-halo" x="${label.left}" y="${rowTop + FONT_SIZE}" ${FONT_ATTRIBUTES}>${label.text}</text>`
    }</g>`;
  })}</g>`;
}

function traffic(layout: Layout, shown: readonly Rate[], top: number, bottom: number, id: string): Markup {
  const last = shown.at(-1);
  if (!last) {
    const text = 'no traffic was measured';
    return markup`<text class="sf-quiet" x="${(layout.left + layout.right) / 2}" y="${(top + bottom) / 2}" text-anchor="middle" ${FONT_ATTRIBUTES}>${text}</text>`;
  }
  const max = shown.reduce((most, rate) => Math.max(most, rate.inBps, rate.outBps), 0);
  const ticks = byteTicks(max, 4, '/s');
  const y = scaleLinear()
    .domain([0, ticks.at(-1)?.value ?? 1])
    .range([bottom, top]);
  const points = [...shown, { ...last, fromMs: last.toMs }];
  const x = (rate: Rate) => layout.x(rate.fromMs);
  const received = (rate: Rate) => y(rate.inBps);
  const filled = area<Rate>(x, bottom, received).curve(curveStepAfter).digits(1)(points) ?? '';
  const inPath = line<Rate>(x, received).curve(curveStepAfter).digits(1)(points) ?? '';
  const outPath =
    line<Rate>(x, (rate) => y(rate.outBps))
      .curve(curveStepAfter)
      .digits(1)(points) ?? '';
  // A narrow picture has room for the numbers only; their unit stands once, above the axis.
  const unit = ticks.at(-1)?.label.split(' ')[1] ?? '';
  const labels = ticks.map((tick) => {
    const label = layout.narrow ? tick.label.split(' ')[0] : tick.label;
    return markup`<path class="sf-grid" d="M${layout.left} ${y(tick.value)}H${layout.right}"/><text class="sf-quiet" x="${layout.left - 6}" y="${y(tick.value) + 4}" text-anchor="end" ${FONT_ATTRIBUTES}>${label}</text>`;
  });
  const topLabel =
    layout.narrow &&
    markup`<text class="sf-quiet" x="${layout.left - 6}" y="${top - 9}" text-anchor="end" font-size="10">${unit}</text>`;
  return markup`${labels}<g clip-path="url(#${id}-clip)"><path class="sf-in-area" d="${trusted(filled)}"/><path class="sf-out" d="${trusted(outPath)}"/><path class="sf-in" d="${trusted(inPath)}"/></g>${topLabel}`;
}

function timeAxis(layout: Layout, gridTop: number, bottom: number): { grid: Markup; labels: Markup } {
  const [fromMs = 0, toMs = 0] = layout.x.domain();
  const ticks = timeTicks(fromMs, toMs, layout.narrow ? 4 : 9);
  return {
    grid: markup`${ticks.map((tick) => markup`<path class="sf-grid" d="M${layout.x(tick.value)} ${gridTop}V${bottom + 3}"/>`)}`,
    labels: markup`<path class="sf-base" d="M${layout.left} ${bottom}H${layout.right}"/>${ticks.map(
      (tick) => {
        const half = textWidth(tick.label, FONT_SIZE) / 2;
        const x = Math.min(layout.x(tick.value), layout.width - half);
        return markup`<text class="sf-quiet" x="${x}" y="${bottom + 15}" text-anchor="middle" ${FONT_ATTRIBUTES}>${tick.label}</text>`;
      },
    )}`,
  };
}

/** Positions and texts for the hover read-out: `[[x, text], …]`, as JSON. */
function readouts(layout: Layout, series: readonly Rate[]): Markup {
  const [fromMs = 0, toMs = 0] = layout.x.domain();
  return jsonAttribute(
    series
      .filter((rate) => rate.fromMs >= fromMs && rate.toMs <= toMs)
      .map((rate) => [
        Math.round(layout.x((rate.fromMs + rate.toMs) / 2) * 10) / 10,
        `${formatMsExact(rate.toMs)}: received ${formatRate(rate.inBps)}, sent ${formatRate(rate.outBps)}, ${rate.echoes} records back`,
      ]),
  );
}

function describe(report: MigrationReport): string {
  const phases = report.phases.map((phase) => `${phase.name} ${formatMs(phase.durationMs)}`).join(', ');
  return `Traffic that a peer outside received and sent over time. Phases: ${phases || 'none reached'}.`;
}

/** Edges of the picture's parts from top to bottom, in pixels. */
interface Edges {
  titleLines: string[];
  phases: number;
  strip: number;
  plotTop: number;
  plotBottom: number;
  lanes: number;
  axis: number;
  key: number;
  height: number;
}

function edges(layout: Layout, title: string, options: DrawOptions): Edges {
  const room = options.width - 2 * margin(layout);
  // A number stays with its unit.
  const bound = visible(title).replace(/(\d) (?=(?:ms|s|min|h)\b)/g, '$1\u00a0');
  const titleLines = options.alone ? wrapText(bound, TITLE_SIZE * BOLD, room, 4) : [];
  const phases = titleLines.length * 18 + (options.alone ? 14 : 4);
  const strip = phases + ROW + 13;
  const plotTop = strip + 6 + layout.markRows * ROW;
  const lanesHeight = LANES * LANE + 2;
  const keyHeight = drawKey(layout, 0).height;
  const rest = 6 + lanesHeight + 24 + keyHeight + 2;
  const plotBottom = plotTop + Math.max(SMALLEST_PLOT, options.height - plotTop - rest);
  const lanes = plotBottom + 6;
  const axis = lanes + lanesHeight;
  const key = axis + 24;
  return { titleLines, phases, strip, plotTop, plotBottom, lanes, axis, key, height: key + keyHeight + 2 };
}

function margin(layout: Layout): number {
  return layout.narrow ? 8 : 16;
}

/** What only a picture without a page around it needs: a background and the headline. */
function standalone(layout: Layout, at: Edges): Markup {
  const lines = at.titleLines.map(
    (text, index) =>
      markup`<text class="sf-strong" x="${margin(layout)}" y="${21 + index * 18}" font-size="${TITLE_SIZE}">${text}</text>`,
  );
  return markup`<rect class="sf-surface" x=".5" y=".5" width="${layout.width - 1}" height="${at.height - 1}" rx="6"/>${lines}`;
}

function zone(layout: Layout, at: Edges, look: string, span: Window | undefined): Part {
  const x = span && spanX(layout, span);
  return (
    x &&
    markup`<rect class="${look}" x="${x.from}" y="${at.plotTop}" width="${x.to - x.from}" height="${at.plotBottom - at.plotTop}"/>`
  );
}

function outline(layout: Layout, at: Edges, span: Window | undefined): Part {
  const x = span && spanX(layout, span);
  return (
    x &&
    markup`<rect class="sf-outline" x="${x.from}" y="${at.strip + 3}" width="${x.to - x.from}" height="${at.axis - at.strip - 6}" rx="3"/>`
  );
}

function lanes(report: MigrationReport, layout: Layout, top: number): Markup {
  const { gaps, outageMs, blackoutMs } = report;
  const blackout = blackoutSpan(report);
  const name = (full: string, short: string) => (layout.narrow ? short : full);
  const tcp = { name: name('TCP gaps', 'TCP'), gaps: gaps.tcp, measured: outageMs.tcp !== null, top };
  const icmp = { name: name('ICMP gaps', 'ICMP'), gaps: gaps.icmp, measured: outageMs.icmp !== null };
  const stopped = lane(layout, {
    name: name('vCPUs off', 'vCPU'),
    top: top + 2 * LANE,
    spans: blackout ? [blackout] : [],
    longest: blackout && { span: blackout, texts: [`blackout ${formatMs(blackoutMs)}`] },
    empty: blackoutMs > 0 ? `${formatMs(blackoutMs)}, moment not recorded` : 'no blackout',
    colour: 'blackout',
  });
  return markup`${gapLane(layout, tcp)}${gapLane(layout, { ...icmp, top: top + LANE })}${stopped}`;
}

/** The timeline as an svg element without a style sheet, which the page brings, unless `style` is given. */
export function drawTimeline(report: MigrationReport, options: DrawOptions, style?: Markup): Markup {
  const { width, window, id, alone, enlarged } = options;
  const layout = layoutTimeline(report, width, window, enlarged);
  const title = headline(report);
  const at = edges(layout, title, options);
  const shown = rates(report.throughput).filter(
    (rate) => rate.toMs > window.startMs && rate.fromMs < window.endMs,
  );
  const series = binned(shown, Math.floor((layout.right - layout.left) / 2));
  const gap = longestGap(report.gaps.tcp) ?? longestGap(report.gaps.icmp);
  const outage = gap && { startMs: gap.startMs, endMs: gap.startMs + gap.ms };
  const axis = timeAxis(layout, at.plotTop, at.axis);
  const classes = options.className === undefined ? 'sf' : `sf ${options.className}`;
  // From back to front.
  const parts: Part[] = [
    alone && standalone(layout, at),
    axis.grid,
    phaseHeader(layout, at.phases, at.plotBottom),
    zone(layout, at, 'sf-outage-zone', outage),
    zone(layout, at, 'sf-blackout-zone', blackoutSpan(report)),
    traffic(layout, series, at.plotTop, at.plotBottom, id),
    marks(layout, at.strip, at.plotTop, at.plotBottom),
    lanes(report, layout, at.lanes),
    axis.labels,
    outline(layout, at, enlarged),
    drawKey(layout, at.key).drawn,
    !alone && markup`<path class="sf-cursor" visibility="hidden" d="M0 ${at.plotTop}V${at.axis}"/>`,
  ];
  const hover = !alone && markup` data-readouts="${readouts(layout, series)}"`;
  return markup`<svg xmlns="http://www.w3.org/2000/svg" class="${classes}" viewBox="0 0 ${width} ${at.height}" width="${width}" height="${at.height}" role="img" aria-labelledby="${id}-title ${id}-desc"${hover}><title id="${id}-title">${title}</title><desc id="${id}-desc">${describe(report)}</desc>${style && markup`<style>${style}</style>`}<defs><clipPath id="${id}-clip"><rect x="${layout.left}" y="${at.plotTop - 2}" width="${layout.right - layout.left}" height="${at.plotBottom - at.plotTop + 4}"/></clipPath></defs>${parts}</svg>`;
}

/**
 * The timeline as a standalone SVG file, readable in light and dark, without scripts or references outside itself.
 */
export function renderTimelineSvg(report: MigrationReport, options: TimelineOptions): string {
  const { width, height, theme, window = focusWindow(report) ?? wholeWindow(report) } = options;
  const style = trusted(pictureStyle(theme));
  return drawTimeline(report, { width, height, window, id: 'timeline', alone: true }, style).toString();
}
