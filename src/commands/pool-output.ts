/** What the pool commands say to people. Pure. */
import { formatBytes } from '../base/units.ts';
import type { View } from '../storage/pool/changes.ts';
import { figuresOf, histogramOf } from '../storage/pool/figures.ts';
import type { Volume } from '../storage/pool/model.ts';
import { mapLines } from '../storage/pool/picture.ts';
import type { Plan } from '../storage/pool/plan/plan.ts';
import { freeExtents, taken } from '../storage/pool/space.ts';

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

/** One volume in a line. */
export function volumeLine({ name, offset, size, holder }: Volume, width = 0): string {
  const use = holder === undefined ? '' : `  used by ${holder.name}`;
  return `${name.padEnd(width)}  ${formatBytes(size).padStart(9)}  at ${offset}${use}`;
}

/** All volumes by their offsets. */
export function volumeLines({ catalog }: View): string[] {
  const width = Math.max(0, ...catalog.volumes.map(({ name }) => name.length));
  return catalog.volumes.toSorted((a, b) => a.offset - b.offset).map((each) => volumeLine(each, width));
}

/** What a report says, for programs. */
export function reportOf(view: View) {
  const free = freeExtents(view.geometry, view.catalog);
  const { start, end, alignment, uuid } = view.geometry;
  return {
    pool: view.path,
    uuid,
    room: end - start,
    alignment,
    volumes: view.catalog.volumes.length,
    ...figuresOf(free),
    histogram: histogramOf(free, alignment),
    moving: view.catalog.move !== null,
  };
}

/** The same in a sentence. */
export function summaryOf(view: View): string {
  const { room, volumes, free, extents, largest, fragmentation } = reportOf(view);
  const pieces = extents === 1 ? 'one extent' : `${extents} extents`;
  return `${volumes} volumes; ${formatBytes(free)} of ${formatBytes(room)} free (${percent(free / room)}) in ${pieces}, the largest ${formatBytes(largest)}; fragmentation ${fragmentation.toFixed(3)}`;
}

/** A report for a terminal of so many columns. */
export function reportLines(view: View, columns: number): string[] {
  const { histogram, free, moving } = reportOf(view);
  const bar = (bytes: number) => '█'.repeat(Math.round((bytes / Math.max(1, free)) * 30));
  const width = Math.max(20, Math.min(columns, 96));
  return [
    summaryOf(view),
    ...(moving
      ? ['a move is under way, or was cut short: the next command that changes the pool ends it']
      : []),
    '',
    'free extents by size',
    ...histogram.map(
      ({ from, extents, bytes }) =>
        `  from ${formatBytes(from).padStart(8)}  ${`${extents}`.padStart(6)}  ${formatBytes(bytes).padStart(9)}  ${bar(bytes)}`,
    ),
    '',
    'from the beginning to the end (· free, ░ ▒ ▓ partly, █ full)',
    ...mapLines(view.geometry, taken(view.catalog), width, 8),
  ];
}

/** A plan, move by move. */
export function planLines(view: View, plan: Plan): string[] {
  const names = new Map(view.catalog.volumes.map(({ id, name }) => [id, name]));
  return [
    `${plan.moves.length} moves, ${formatBytes(plan.bytes)}: ${plan.reason}`,
    ...plan.moves.map(
      ({ id, from, to, size }) => `  ${names.get(id) ?? id}  ${formatBytes(size)}  from ${from} to ${to}`,
    ),
  ];
}
