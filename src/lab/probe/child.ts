import { setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import type { ProbeMessage } from './messages.ts';
import { type Buckets, epochMs } from './meters.ts';

/** The probe processes' side of the pipe to their parent. */

const FLUSH_MS = 1000;
const TICK_MS = 2;

export function tell(message: ProbeMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Resolves when the parent asks for the result; the process ends at once when the parent has gone. */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: process.stdin });
    lines.on('line', (line) => {
      if (line === 'stop') resolve();
    });
    lines.on('close', () => process.exit(0));
  });
}

/** Tells the samples once a second, so that the parent is woken rarely; the returned function tells the rest. */
export function tellSamples(buckets: Buckets): () => void {
  const flush = () => {
    const rows = buckets.drain();
    if (rows.length > 0) tell({ type: 'samples', rows });
  };
  setInterval(flush, FLUSH_MS).unref();
  return flush;
}

/**
 * Measures how late this process was run when it wanted to, by a tick every `everyMs`. The returned function gives the
 * longest lateness since it was last called.
 */
export function watchLateness(everyMs = TICK_MS, onTick?: (nowMs: number) => void): () => number {
  let last = epochMs();
  let longest = 0;
  setInterval(() => {
    const now = epochMs();
    longest = Math.max(longest, now - last - everyMs);
    last = now;
    onTick?.(now);
  }, everyMs);
  return () => {
    const result = Math.max(0, longest);
    longest = 0;
    return result;
  };
}

/** Lets this process run before others when it wants to: it wants little, and what it wants is the measurement. */
export function goFirst(): void {
  try {
    setPriority(-10);
  } catch {
    // only root may; the lateness that is told along shows what it costs
  }
}

/** Runs a probe's main function; what it throws is told to the parent. */
export async function runProbe(main: () => Promise<void>): Promise<void> {
  process.stdout.on('error', () => process.exit(1)); // the parent has gone
  try {
    await main();
    process.stdout.end(() => process.exit(0));
  } catch (error) {
    tell({ type: 'failed', why: error instanceof Error ? error.message : String(error) });
    process.stdout.end(() => process.exit(1));
  }
}
