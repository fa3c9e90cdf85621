/** What a way of moving memory costs an operator, in one number. Fixed before anything was measured; see docs/memory.md. Pure. */

export interface Moved {
  /** From the first byte of memory to the last, ms. */
  totalMs: number;
  /** What the guest did not do of what it would have done meanwhile, as time of its own, ms; the blackout is a part of it. */
  lostMs: number;
  /** No answer to a peer outside, ms; null where nobody asked. */
  outageMs: number | null;
  /** How long the VM ran here with memory there: the death of either host, or of the link, would have been its own. */
  residualMs: number;
}

/** A second of a migration that nobody feels is worth a twentieth of a second without the guest. */
const TOTAL_SHARE = 1 / 20;
/** A second in which three parts must live for the VM to live, a tenth. */
const RESIDUAL_SHARE = 1 / 10;

export function costOf({ totalMs, lostMs, outageMs, residualMs }: Moved): number {
  return Math.max(lostMs, outageMs ?? 0) + totalMs * TOTAL_SHARE + residualMs * RESIDUAL_SHARE;
}

/** A count of work at a time. */
export interface Work {
  atMs: number;
  done: number;
}

/**
 * Time of its own that a guest lost between the second and the third count, against its pace between the first and the
 * second, ms; null when it did no work before. What it did faster than before is no loss.
 */
export function lostTime(before: Work, from: Work, until: Work): number | null {
  const pace = (from.done - before.done) / (from.atMs - before.atMs);
  if (!(pace > 0)) return null;
  return Math.max(0, until.atMs - from.atMs - (until.done - from.done) / pace);
}
