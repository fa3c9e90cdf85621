/** Copies of extents that nobody writes meanwhile. */
import type { PoolDevice } from './device.ts';
import type { Extent, Sliding, Volume } from './model.ts';
import type { Pace } from './pace.ts';

/** So much is in memory at once. */
const PIECE = 4 * 1024 * 1024;

export interface CopyOptions {
  pace: Pace;
  signal: AbortSignal;
  progress?: (done: number) => void;
}

/** Copies an extent to one that does not overlap it; on the disk when it returns. @throws the signal's reason */
export async function copyExtent(
  device: PoolDevice,
  from: Extent,
  to: number,
  { pace, signal, progress }: CopyOptions,
): Promise<void> {
  for (let done = 0; done < from.size; ) {
    const length = Math.min(PIECE, from.size - done);
    await pace.before(length, signal);
    await device.write(to + done, await device.read(from.offset + done, length));
    done += length;
    progress?.(done);
  }
  await device.sync();
}

/** One step of a slide: an extent and its new place, which do not overlap. */
export interface Step {
  from: Extent;
  to: number;
  /** What is done of the volume before it, and after it, bytes. */
  before: number;
  done: number;
}

/**
 * The steps that a slide has still to make. Each is as long as the way of the slide, so that it overwrites only what
 * the step before it has copied already, and that is in the catalog: cut short anywhere, it can be made once more.
 */
export function* stepsOf(volume: Volume, { to, done }: Sliding): Generator<Step> {
  const way = Math.abs(to - volume.offset);
  const down = to < volume.offset;
  for (let before = done; before < volume.size; ) {
    const size = Math.min(way, volume.size - before);
    const skip = down ? before : volume.size - before - size;
    yield { from: { offset: volume.offset + skip, size }, to: to + skip, before, done: before + size };
    before += size;
  }
}

/** Makes one step. @throws the signal's reason, with the step to be made once more */
export async function slideStep(device: PoolDevice, step: Step, options: CopyOptions): Promise<void> {
  const { progress } = options;
  await copyExtent(device, step.from, step.to, {
    ...options,
    ...(progress === undefined ? {} : { progress: (done: number) => progress(step.before + done) }),
  });
}
