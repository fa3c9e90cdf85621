/** Takes a move that a crash cut short to its end or back, by what the catalog says of it. */
import { settled, switchedBack } from './changes.ts';
import type { Copying, Leaving, LiveMove, QemuUse, Volume } from './model.ts';
import { Pace } from './pace.ts';
import type { Pool } from './pool.ts';

/** What recovery asks of the QEMU that has a volume open. `gone`: that QEMU has ended for certain. */
export interface LiveRecovery {
  /** Ends the copy, so that the guest writes to the old place only, and lets go of the new one. */
  takeBack(volume: Volume, use: QemuUse, names: LiveMove): Promise<'done' | 'gone'>;
  /** Lets the copy end, so that the guest writes to the new place only, and lets go of the old one. */
  takeForward(volume: Volume, use: QemuUse, names: LiveMove): Promise<'done' | 'gone' | 'stayed'>;
}

/** What was found and done; `none` when no move was under way. */
export interface Recovered {
  action: 'none' | 'forward' | 'back';
  reason: string;
}

function use(volume: Volume | undefined): { volume: Volume; use: QemuUse } | undefined {
  const qemu = volume?.holder?.qemu;
  return volume === undefined || qemu === undefined ? undefined : { volume, use: qemu };
}

async function backFrom(pool: Pool, move: Copying, volume: Volume | undefined, live: LiveRecovery) {
  const there = use(volume);
  if (move.live !== undefined && there !== undefined) await live.takeBack(there.volume, there.use, move.live);
  await pool.commit(settled(pool.catalog));
}

async function forwardFrom(pool: Pool, move: Leaving, volume: Volume | undefined, live: LiveRecovery) {
  const there = use(volume);
  const end = there && (await live.takeForward(there.volume, there.use, move.live));
  const stayed = end === 'stayed' && volume !== undefined;
  await pool.commit(stayed ? switchedBack(pool.catalog, volume, move.old, move.live) : settled(pool.catalog));
  return stayed;
}

/**
 * Recovers an open pool; does nothing twice.
 * @throws POOL_UNWRITABLE; POOL_MOVE_UNFINISHED from `live` when the QEMU cannot be asked, with nothing changed
 */
export async function recover(pool: Pool, live: LiveRecovery, signal: AbortSignal): Promise<Recovered> {
  const { move, volumes } = pool.catalog;
  if (move === null) return { action: 'none', reason: 'no move was under way' };
  const volume = volumes.find((each) => each.id === move.volume);
  const name = volume?.name ?? `${move.volume}`;
  switch (move.state) {
    case 'copying':
      await backFrom(pool, move, volume, live);
      return { action: 'back', reason: `the copy of ${name} was not whole; it is where it was` };
    case 'sliding':
      await pool.slide({ pace: new Pace(), signal });
      return {
        action: 'forward',
        reason: `${name} was between two overlapping places; it is in the new one`,
      };
    case 'leaving':
      if (await forwardFrom(pool, move, volume, live))
        return { action: 'back', reason: `the QEMU of ${name} did not leave the old place; it is there` };
      return { action: 'forward', reason: `${name} was in its new place already; the old one is free` };
  }
}
