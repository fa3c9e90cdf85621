/** Plans for a pool as it is, and carrying them out. */
import { formatBytes } from '../../base/units.ts';
import { ShadowferryError } from '../../errors.ts';
import type { View } from './changes.ts';
import { roundUp } from './geometry.ts';
import type { Extent, Volume } from './model.ts';
import { planImprovement } from './plan/improve.ts';
import type { Piece, Plan, Space } from './plan/plan.ts';
import { planExtent } from './plan/window.ts';
import type { MoveOptions, Pool } from './pool.ts';
import { freeExtents, roomHint } from './space.ts';

/** What is wanted: a free extent of `size` bytes, or the best use of `budget` bytes, or the first within the second. */
export interface Wanted {
  size?: number;
  budget?: number;
}

/** Moves a volume that a guest writes to. */
export interface LiveMover {
  move(pool: Pool, volume: Volume, to: Extent, options: MoveOptions): Promise<void>;
}

function mobilityOf({ holder }: Volume): Piece['mobility'] {
  if (holder === undefined) return 'free';
  return holder.qemu === undefined ? 'pinned' : 'live';
}

function spaceOf({ geometry, catalog }: View): Space {
  const pieces = catalog.volumes.map((volume) => ({
    id: volume.id,
    offset: volume.offset,
    size: volume.size,
    mobility: mobilityOf(volume),
  }));
  return { start: geometry.start, end: geometry.end, pieces: pieces.sort((a, b) => a.offset - b.offset) };
}

/** Plans what is wanted, for a pool in which no move is under way. @throws POOL_GOAL_UNREACHABLE, INPUT_FIELD */
export function planFor(view: View, { size, budget }: Wanted): Plan {
  if (size === undefined) {
    if (budget !== undefined) return planImprovement(spaceOf(view), budget);
    const problem = 'either --for SIZE, for one free extent, or --budget BYTES is needed';
    throw new ShadowferryError('INPUT_FIELD', { field: '--for', problem });
  }
  const wanted = roundUp(size, view.geometry.alignment);
  const found = planExtent(spaceOf(view), wanted, budget);
  if (found.found) return found.plan;
  const hint =
    budget === undefined
      ? 'Release volumes that are not in use any more, delete some, or ask for less.'
      : `Ask for less, or allow more with "--budget". ${roomHint(freeExtents(view.geometry, view.catalog), wanted)}`;
  const params = { size: formatBytes(wanted), pool: view.path, why: found.reason, hint };
  throw new ShadowferryError('POOL_GOAL_UNREACHABLE', params);
}

/** How far a plan is. */
export interface Progress {
  /** The volume that is moved, and which move of the plan it is, from 1. */
  volume: string;
  move: number;
  moves: number;
  /** Bytes that are moved, of all. */
  done: number;
  bytes: number;
}

export interface RunOptions extends Omit<MoveOptions, 'progress'> {
  live: LiveMover;
  progress?: (progress: Progress) => void;
}

/**
 * Carries a plan out, move by move; each is on the disk before the next one begins. When the signal aborts, the pool
 * is whole: the moves that are done stay, and the one under way is taken back, or goes on when the pool is opened.
 * @throws the signal's reason, POOL_UNWRITABLE, POOL_MOVE_FAILED, VOLUME_IN_USE
 */
export async function runPlan(
  pool: Pool,
  plan: Plan,
  { live, progress, ...options }: RunOptions,
): Promise<void> {
  let before = 0;
  for (const [index, { id, to, size }] of plan.moves.entries()) {
    const volume = pool.catalog.volumes.find((each) => each.id === id);
    if (volume === undefined) throw new ShadowferryError('INTERNAL', { why: `there is no volume ${id}` });
    const tell = (done: number) =>
      progress?.({
        volume: volume.name,
        move: index + 1,
        moves: plan.moves.length,
        done: before + done,
        bytes: plan.bytes,
      });
    tell(0);
    const place = { offset: to, size };
    if (volume.holder === undefined) await pool.move(id, place, { ...options, progress: tell });
    else await live.move(pool, volume, place, { ...options, progress: tell });
    before += size;
  }
}
