/** The lanes under the plot: gaps per protocol and the blackout, each with its longest span labelled. */
import { formatMs } from '../base/units.ts';
import { type Markup, markup, trusted } from './markup.ts';
import type { Gap } from './model.ts';
import { longestGap, type Window } from './series.ts';
import { BOLD, textWidth } from './text.ts';
import { FONT_SIZE, type Layout } from './timeline-layout.ts';

const HEIGHT = 14;
/** Pixels; a shorter span is widened so that it can be seen. */
const THINNEST = 1.5;
/** Longest series that is drawn one by one; more would be one smear. */
const MOST_SPANS = 500;

interface Lane {
  name: string;
  top: number;
  spans: readonly Window[];
  /** What to say of the longest span, the fullest text first. */
  longest: { span: Window; texts: readonly string[] } | undefined;
  /** Shown when there are no spans. */
  empty: string;
  colour: 'outage' | 'blackout';
}

/** Left and right edge of a span inside the plot, wide enough to be seen; undefined outside of the window. */
export function spanX(layout: Layout, span: Window): { from: number; to: number } | undefined {
  const start = Math.max(layout.left, layout.x(span.startMs));
  const end = Math.min(layout.right, layout.x(span.endMs));
  if (end < layout.left || start > layout.right) return undefined;
  const from = Math.min(start, layout.right - THINNEST);
  return { from, to: Math.max(end, from + THINNEST) };
}

interface Label {
  text: string;
  side: 'left' | 'right';
}

/** The first of the texts that has free room at the right or at the left of the span, else the last one. */
function placeLabel(
  layout: Layout,
  at: { from: number; to: number },
  texts: readonly string[],
  spans: readonly Window[],
): Label {
  const inside = (from: number, to: number) => from >= layout.left && to <= layout.right;
  const free = (from: number, to: number) =>
    inside(from, to) &&
    !spans.some((span) => {
      const other = spanX(layout, span);
      return other && other.from < to && other.to > from;
    });
  const room = (text: string) => textWidth(text, FONT_SIZE * BOLD) + 10;
  for (const text of texts) {
    if (free(at.to + 0.1, at.to + room(text))) return { text, side: 'right' };
    if (free(at.from - room(text), at.from - 0.1)) return { text, side: 'left' };
  }
  const text = texts.at(-1) ?? '';
  return { text, side: inside(at.to, at.to + room(text)) ? 'right' : 'left' };
}

/** One lane with its name at the left, its spans as bars, and a label beside the longest. */
export function lane(layout: Layout, { name, top, spans, longest, empty, colour }: Lane): Markup {
  const bars = spans.slice(0, MOST_SPANS).map((span) => {
    const at = spanX(layout, span);
    const isLongest = span === longest?.span;
    return (
      at &&
      markup`<rect class="sf-${trusted(colour)}"${!isLongest && trusted(' fill-opacity=".55"')} x="${at.from}" y="${top + 2}" width="${at.to - at.from}" height="${HEIGHT - 4}"><title>${formatMs(span.endMs - span.startMs)} at ${formatMs(span.startMs)}</title></rect>`
    );
  });
  // The outline of an overview would cross its labels, and the picture it points to has them.
  const at = longest && !layout.overview ? spanX(layout, longest.span) : undefined;
  const said = at && placeLabel(layout, at, longest?.texts ?? [], spans);
  const label =
    said &&
    markup`<text class="sf-halo sf-strong${trusted(colour === 'outage' ? ' sf-outage-text' : '')}" x="${said.side === 'right' ? at.to + 5 : at.from - 5}" y="${top + 11}" text-anchor="${said.side === 'right' ? 'start' : 'end'}" font-size="${FONT_SIZE}">${said.text}</text>`;
  const nothing =
    spans.length === 0 &&
    markup`<text class="sf-quiet" x="${layout.left + 6}" y="${top + 11}" font-size="${FONT_SIZE}">${empty}</text>`;
  return markup`<g><rect class="sf-lane" x="${layout.left}" y="${top}" width="${layout.right - layout.left}" height="${HEIGHT}" rx="2"/><text class="sf-quiet" x="${layout.left - 6}" y="${top + 11}" text-anchor="end" font-size="${FONT_SIZE}">${name}</text>${bars}${label}${nothing}</g>`;
}

/** The lane of one protocol's gaps. */
export function gapLane(
  layout: Layout,
  { name, top, gaps, measured }: { name: string; top: number; gaps: readonly Gap[]; measured: boolean },
): Markup {
  const worst = longestGap(gaps);
  // The longest first, so that a cap on the number drawn never hides it.
  const ordered = worst ? [worst, ...gaps.filter((gap) => gap !== worst)] : [];
  const spans = ordered.map((gap) => ({ startMs: gap.startMs, endMs: gap.startMs + gap.ms }));
  const longestSpan = spans[0];
  return lane(layout, {
    name,
    top,
    spans,
    longest:
      worst && longestSpan
        ? {
            span: longestSpan,
            texts:
              gaps.length > 1
                ? [`${formatMs(worst.ms)}, longest of ${gaps.length}`, formatMs(worst.ms)]
                : [formatMs(worst.ms)],
          }
        : undefined,
    empty: measured ? 'no gap' : 'not measured',
    colour: 'outage',
  });
}
