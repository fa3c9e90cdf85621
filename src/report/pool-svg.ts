/** The map of a storage pool: rows from its beginning to its end, with volumes, free room, and places they move to. */
import { formatBytes } from '../base/units.ts';
import { markup, type Part, trusted } from './markup.ts';
import { pictureStyle, type Theme } from './palette.ts';

/** What is drawn; offsets and sizes in bytes. */
export interface PoolPicture {
  title: string;
  /** One sentence below the title. */
  summary: string;
  start: number;
  end: number;
  volumes: readonly { name: string; offset: number; size: number; used: boolean }[];
  /** Places that a plan fills. */
  places: readonly { name: string; offset: number; size: number }[];
}

const WIDTH = 1000;
const MARGIN = 16;
const ROWS = 24;
const ROW = 18;
const GAP = 5;
const TOP = 64;

interface Span {
  x: number;
  y: number;
  width: number;
}

/** The parts of an extent that lie in each row. */
function spansOf(picture: PoolPicture, offset: number, size: number): Span[] {
  const perRow = (picture.end - picture.start) / ROWS;
  const scale = (WIDTH - 2 * MARGIN) / perRow;
  const spans: Span[] = [];
  const to = offset + size - picture.start;
  for (let at = offset - picture.start; at < to; ) {
    const row = Math.min(ROWS - 1, Math.floor(at / perRow + 1e-9));
    const end = row === ROWS - 1 ? to : Math.min(to, (row + 1) * perRow);
    const x = MARGIN + (at - row * perRow) * scale;
    spans.push({ x, y: TOP + row * (ROW + GAP), width: Math.max(0.4, (end - at) * scale) });
    at = end;
  }
  return spans;
}

function extent(picture: PoolPicture, kind: string, tip: string, offset: number, size: number): Part {
  const rects = spansOf(picture, offset, size).map(
    ({ x, y, width }) => markup`<rect class="${kind}" x="${x}" y="${y}" width="${width}" height="${ROW}"/>`,
  );
  return markup`<g><title>${tip}</title>${rects}</g>`;
}

function key(kind: string, text: string, x: number): Part {
  const y = TOP + ROWS * (ROW + GAP) + 8;
  return markup`<rect class="${kind}" x="${x}" y="${y}" width="14" height="12"/><text class="sf-quiet" font-size="12" x="${x + 20}" y="${y + 10}">${text}</text>`;
}

/** Draws it as a whole SVG file. */
export function renderPoolSvg(picture: PoolPicture, theme: Theme): string {
  const height = TOP + ROWS * (ROW + GAP) + 32;
  const rows = Array.from(
    { length: ROWS },
    (_, row) =>
      markup`<rect class="sf-lane" x="${MARGIN}" y="${TOP + row * (ROW + GAP)}" width="${WIDTH - 2 * MARGIN}" height="${ROW}"/>`,
  );
  const volumes = picture.volumes.map(({ name, offset, size, used }) =>
    extent(
      picture,
      used ? 'sf-p-copy' : 'sf-p-stage',
      `${name}: ${formatBytes(size)} at ${formatBytes(offset)}`,
      offset,
      size,
    ),
  );
  const places = picture.places.map(({ name, offset, size }) =>
    extent(picture, 'sf-outage-zone', `${name} goes here: ${formatBytes(size)}`, offset, size),
  );
  const keys = [
    key('sf-p-stage', 'volume', MARGIN),
    key('sf-p-copy', 'volume in use', MARGIN + 110),
    key('sf-lane', 'free', MARGIN + 250),
    ...(places.length > 0 ? [key('sf-outage-zone', 'where the plan puts something', MARGIN + 320)] : []),
  ];
  const style = trusted(pictureStyle(theme));
  return `${markup`<svg xmlns="http://www.w3.org/2000/svg" class="sf" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img"><title>${picture.title}</title><style>${style}</style><rect class="sf-surface" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/><text class="sf-strong" font-size="16" x="${MARGIN}" y="28">${picture.title}</text><text class="sf-quiet" font-size="12" x="${MARGIN}" y="48">${picture.summary}</text>${rows}${volumes}${places}${keys}</svg>`}\n`;
}
