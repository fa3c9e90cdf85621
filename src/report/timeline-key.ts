/** What stands under the time axis: the legend, and the names for which the picture above has no room. */
import { formatMs, formatMsExact } from '../base/units.ts';
import { type Markup, markup, visible } from './markup.ts';
import { fitText, textWidth } from './text.ts';
import { FONT_SIZE, type Layout, ROW } from './timeline-layout.ts';

export interface Drawn {
  drawn: Markup;
  /** Pixels. */
  height: number;
}

interface Entry {
  width: number;
  draw: (x: number, y: number) => Markup;
}

const LONGEST_NAME = 150;
const BETWEEN = 14;

/** Entries in columns of one width, as many as fit, filled from top to bottom. */
function inColumns(layout: Layout, top: number, entries: readonly Entry[]): Drawn {
  const left = layout.narrow ? 8 : layout.left;
  const widest = entries.reduce((most, entry) => Math.max(most, entry.width), 1) + BETWEEN;
  const columns = Math.max(1, Math.floor((layout.right + BETWEEN - left) / widest));
  const rows = Math.ceil(entries.length / columns);
  const drawn = entries.map((entry, index) =>
    entry.draw(left + Math.floor(index / rows) * widest, top + (index % rows) * ROW),
  );
  return { drawn: markup`<g>${drawn}</g>`, height: rows === 0 ? 0 : rows * ROW + 6 };
}

function swatch(kind: 'line' | 'box', look: string, text: string, value = ''): Entry {
  const shown = value === '' ? text : `${text} ${value}`;
  return {
    width: 21 + textWidth(shown, FONT_SIZE),
    draw: (x, y) => {
      const shape =
        kind === 'line'
          ? markup`<path class="${look}" d="M${x} ${y + 8}h16"/>`
          : markup`<rect class="${look}" x="${x}" y="${y + 2}" width="16" height="11" rx="1"/>`;
      return markup`${shape}<text class="sf-quiet" x="${x + 21}" y="${y + FONT_SIZE + 1}" font-size="${FONT_SIZE}">${shown}</text>`;
    },
  };
}

function legend(): Entry[] {
  return [
    swatch('line', 'sf-in', 'received by the peer'),
    swatch('line', 'sf-out', 'sent by the peer'),
    swatch('box', 'sf-outage-zone', 'outage (longest gap)'),
    swatch('box', 'sf-blackout-zone', 'blackout (vCPUs stopped)'),
  ];
}

function phaseKey(layout: Layout): Entry[] {
  if (layout.overview || layout.phases.every((placed) => placed.label)) return [];
  return layout.phases.map(({ phase }) =>
    swatch('box', `sf-p-${phase.name}`, phase.name, formatMs(phase.durationMs)),
  );
}

function markKey(layout: Layout): Entry[] {
  if (!layout.numbered) return [];
  return layout.marks.map(({ mark, number }) => {
    const time = formatMsExact(mark.atMs);
    const name = fitText(visible(mark.name), FONT_SIZE, LONGEST_NAME);
    return {
      width: textWidth(`${number} ${name} ${time}`, FONT_SIZE) + 4,
      draw: (x, y) =>
        markup`<text x="${x}" y="${y + FONT_SIZE}" font-size="${FONT_SIZE}"><tspan class="sf-strong">${number}</tspan> ${name} <tspan class="sf-quiet">${time}</tspan></text>`,
    };
  });
}

/** Legend, then the key of phases and of numbered marks where they are needed. */
export function drawKey(layout: Layout, top: number): Drawn {
  const parts: Markup[] = [];
  let y = top;
  for (const entries of [legend(), phaseKey(layout), markKey(layout)]) {
    const part = inColumns(layout, y, entries);
    parts.push(part.drawn);
    y += part.height;
  }
  return { drawn: markup`${parts}`, height: y - top };
}
