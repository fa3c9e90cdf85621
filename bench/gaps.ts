/** What a series of gaps means to an application. Pure. */

export interface GapSpan {
  startMs: number;
  ms: number;
}

/**
 * The longest time, ms, in which next to nothing passed: gaps that no more than `withinMs` of answers separate count
 * as one. A connection whose first segment came through and whose second waits for its retransmission is not back.
 */
export function longestAway(gaps: readonly GapSpan[], withinMs: number): number {
  let longest = 0;
  let startMs = 0;
  let endMs = Number.NEGATIVE_INFINITY;
  for (const gap of gaps.toSorted((a, b) => a.startMs - b.startMs)) {
    if (gap.startMs - endMs > withinMs) startMs = gap.startMs;
    endMs = Math.max(endMs, gap.startMs + gap.ms);
    longest = Math.max(longest, endMs - startMs);
  }
  return longest;
}
