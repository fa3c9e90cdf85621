/** One look for all who ask meanwhile: what many want to see is read as often as it is worth it, not as often as asked. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Shares a read. Everybody gets what was read after they asked, so nobody sees what was before; one who asks alone is
 * served at once.
 * @param pauseMs at least so long between the beginnings of two reads: who asks earlier waits for it
 * @param wait waits so many ms
 * @returns asks; rejects as the read does, for all who shared it
 */
export function sharedRead<T>(
  read: () => Promise<T>,
  pauseMs: number,
  wait: (ms: number) => Promise<unknown> = delay,
): () => Promise<T> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | undefined;
  let beganMs = Number.NEGATIVE_INFINITY;
  const begin = async (): Promise<T> => {
    await running.catch(() => {}); // those who shared it have its error
    const early = beganMs + pauseMs - performance.now();
    if (early > 0) await wait(early);
    next = undefined; // who comes from here on needs a later one
    beganMs = performance.now();
    const result = read();
    running = result;
    return result;
  };
  return () => {
    next ??= begin();
    return next;
  };
}
