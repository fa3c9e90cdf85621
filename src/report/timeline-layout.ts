/** The measures of the timeline picture: what goes where, in pixels, before anything is drawn. Pure. */
import { type ScaleLinear, scaleLinear } from 'd3-scale';
import { formatMs } from '../base/units.ts';
import { type Flag, placeFlags, placeInRow } from './labels.ts';
import { visible } from './markup.ts';
import type { Mark, MigrationReport, PhaseSpan } from './model.ts';
import type { Window } from './series.ts';
import { fitText, textWidth } from './text.ts';

export const FONT_SIZE = 11;
export const ROW = 15;
/** The widths in which a page shows a picture, as names of style classes. */
export type WidthName = 'broad' | 'middle' | 'slim';

/** Below this width marks are numbered and named under the picture. */
const NARROW = 560;
const MAX_MARK_ROWS = 7;
const LONGEST_MARK = 150;
/** Pixels that a phase's label may stand away from the middle of its band. */
const FARTHEST_LABEL = 90;

export interface PlacedPhase {
  phase: PhaseSpan;
  from: number;
  to: number;
  /** Absent where there is no room: the legend names it. */
  label?: { text: string; left: number; width: number };
}

export interface PlacedMark {
  mark: Mark;
  /** 1-based, in order of time over all marks of the report. */
  number: number;
  x: number;
  /** Absent where there is no room. */
  label?: { text: string; left: number; row: number };
}

export interface Layout {
  width: number;
  left: number;
  right: number;
  narrow: boolean;
  x: ScaleLinear<number, number>;
  phases: PlacedPhase[];
  marks: PlacedMark[];
  markRows: number;
  /** Marks are labelled by number, and a key names them. */
  numbered: boolean;
  /** Another picture shows the part that matters: what has no room here is named there. */
  overview: boolean;
}

/** Marks of the report in order of time, numbered. */
export function numberedMarks(report: MigrationReport): { mark: Mark; number: number }[] {
  return report.marks.toSorted((a, b) => a.atMs - b.atMs).map((mark, index) => ({ mark, number: index + 1 }));
}

function placePhases(report: MigrationReport, layout: Pick<Layout, 'x' | 'left' | 'right'>): PlacedPhase[] {
  const { x, left, right } = layout;
  const [fromMs = 0, toMs = 0] = x.domain();
  const seen: PlacedPhase[] = report.phases
    .filter((phase) => phase.startMs < toMs && phase.startMs + phase.durationMs > fromMs)
    .toSorted((a, b) => a.startMs - b.startMs)
    .map((phase) => ({
      phase,
      from: Math.max(left, x(phase.startMs)),
      to: Math.min(right, x(phase.startMs + phase.durationMs)),
    }));
  const place = (members: readonly PlacedPhase[], text: (phase: PhaseSpan) => string): boolean => {
    const flags = members.map(({ phase, from, to }) => ({
      x: (from + to) / 2,
      width: textWidth(text(phase), FONT_SIZE),
    }));
    const lefts = placeInRow(flags, { left, right }, 8);
    const far = (at: number, flag: Flag | undefined) =>
      flag !== undefined && Math.abs(at + flag.width / 2 - flag.x) > FARTHEST_LABEL;
    if (!lefts || lefts.some((at, index) => far(at, flags[index]))) return false;
    members.forEach((placed, index) => {
      const width = flags[index]?.width ?? 0;
      placed.label = { text: text(placed.phase), left: lefts[index] ?? left, width };
    });
    return true;
  };
  const full = (phase: PhaseSpan) => `${phase.name} ${formatMs(phase.durationMs)}`;
  const short = (phase: PhaseSpan) => phase.name;
  // When not all find a place near their band, the narrowest bands go without.
  const byWidth = seen.toSorted((a, b) => b.to - b.from - (a.to - a.from));
  for (let kept = byWidth.length; kept > 0; kept -= 1) {
    const members = seen.filter((placed) => byWidth.indexOf(placed) < kept);
    if (place(members, full) || place(members, short)) break;
  }
  return seen;
}

function placeMarks(
  report: MigrationReport,
  layout: Pick<Layout, 'x' | 'left' | 'right' | 'narrow' | 'width'>,
  elsewhere: Window | undefined,
): Pick<Layout, 'marks' | 'markRows' | 'numbered'> {
  const { x, left, narrow } = layout;
  const [fromMs = 0, toMs = 0] = x.domain();
  const marks: PlacedMark[] = numberedMarks(report)
    .filter(({ mark }) => mark.atMs >= fromMs && mark.atMs <= toMs)
    .filter(({ mark }) => !elsewhere || mark.atMs < elsewhere.startMs || mark.atMs > elsewhere.endMs)
    .map(({ mark, number }) => ({ mark, number, x: x(mark.atMs) }));
  const bounds = { left, right: layout.width - 4 };
  const place = (texts: string[], maxRows: number): number | undefined => {
    const flags = marks.map((mark, index) => ({
      x: mark.x,
      width: textWidth(texts[index] ?? '', FONT_SIZE),
    }));
    const placed = placeFlags(flags, bounds, maxRows);
    if (!placed) return undefined;
    placed.forEach(({ left: at, row }, index) => {
      const mark = marks[index];
      if (mark) mark.label = { text: texts[index] ?? '', left: at, row };
    });
    return placed.reduce((most, { row }) => Math.max(most, row + 1), 0);
  };
  const names = marks.map(({ mark }) => fitText(visible(mark.name), FONT_SIZE, LONGEST_MARK));
  const rows = narrow ? undefined : place(names, MAX_MARK_ROWS);
  if (rows !== undefined) return { marks, markRows: rows, numbered: false };
  const numberRows = place(
    marks.map(({ number }) => String(number)),
    12,
  );
  return { marks, markRows: numberRows ?? 0, numbered: marks.length > 0 };
}

/**
 * Scales and label places for a picture of `width` pixels that shows `window`; marks inside `elsewhere` are left
 * to another picture.
 */
export function layoutTimeline(
  report: MigrationReport,
  width: number,
  window: Window,
  elsewhere?: Window,
): Layout {
  const narrow = width < NARROW;
  const left = narrow ? 44 : 84;
  const right = width - (narrow ? 8 : 16);
  const x = scaleLinear().domain([window.startMs, window.endMs]).range([left, right]);
  const base = { width, left, right, narrow, x, overview: elsewhere !== undefined };
  return { ...base, phases: placePhases(report, base), ...placeMarks(report, base, elsewhere) };
}
