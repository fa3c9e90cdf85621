/** The map of a pool as a row of cells, for pictures of any kind. Pure. */
import type { Extent, Geometry } from './model.ts';

/** Bytes of volumes in each of `count` equal parts of a pool's room, as a share from 0 to 1. */
export function cellsOf(
  { start, end }: Pick<Geometry, 'start' | 'end'>,
  volumes: readonly Extent[],
  count: number,
): number[] {
  const each = (end - start) / count;
  const cells = Array.from({ length: count }, () => 0);
  for (const { offset, size } of volumes) {
    const [from, to] = [(offset - start) / each, (offset + size - start) / each];
    for (let cell = Math.floor(from); cell < Math.min(to, count); cell += 1)
      cells[cell] = (cells[cell] ?? 0) + Math.min(to, cell + 1) - Math.max(from, cell);
  }
  return cells.map((share) => Math.min(1, share));
}

/** How full a cell is, as a character: blank only when it is empty, solid only when it is full. */
function character(share: number): string {
  if (share <= 1e-9) return '·';
  if (share >= 1 - 1e-9) return '█';
  if (share < 1 / 3) return '░';
  return share < 2 / 3 ? '▒' : '▓';
}

/** The map for a terminal: lines of `columns` characters from the pool's beginning to its end. */
export function mapLines(
  geometry: Pick<Geometry, 'start' | 'end'>,
  volumes: readonly Extent[],
  columns: number,
  rows: number,
): string[] {
  const cells = cellsOf(geometry, volumes, columns * rows);
  return Array.from({ length: rows }, (_, row) =>
    cells
      .slice(row * columns, (row + 1) * columns)
      .map(character)
      .join(''),
  );
}
