import { ShadowferryError } from '../errors.ts';

/**
 * A signal that aborts after `ms` milliseconds with a DEADLINE error naming `what`, or when `parent` aborts.
 * One deadline per wait: pass the signal down instead of starting further clocks.
 */
export function deadline(what: string, ms: number, parent?: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new ShadowferryError('DEADLINE', { what, ms })), ms);
  timer.unref();
  return parent ? AbortSignal.any([controller.signal, parent]) : controller.signal;
}

/** Settles as `promise` does, or rejects with the signal's reason when that comes first. */
export async function raceSignal<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}
