/** Waiting in loops that look at their signal themselves. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits for `ms` milliseconds. An abort ends the wait, and is no error: the loop sees it.
 * @param options.ref `false` where the wait need not keep the process
 */
export async function pauseFor(
  ms: number,
  signal: AbortSignal | undefined,
  options: { ref?: boolean } = {},
): Promise<void> {
  const aborting = signal === undefined ? {} : { signal };
  await delay(ms, undefined, { ...options, ...aborting }).catch(() => {});
}
