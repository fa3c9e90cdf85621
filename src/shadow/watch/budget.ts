/**
 * How often a watched shadow may be captured. A capture costs the guest processes, so what it costs in all is bounded
 * as a share of one vCPU's time. Pure: times are given in milliseconds of any steady clock.
 */

/** Share of the time that captures may take while something changes again and again. */
export const BUSY_SHARE = 0.02;
/** Captures that may come at once after a calm time. */
export const BURST = 10;
/** Share of the time that captures may take while nothing is told: they look for what has no event. */
export const IDLE_SHARE = 0.001;
/** The shortest pause between such looks. */
export const LEAST_IDLE_MS = 60_000;

/** A bucket of time that fills with its share of the time and that each capture draws on by what it took. */
export class CaptureBudget {
  #costMs = 0;
  #level = 0;
  #at: number;
  readonly #share: number;

  constructor(nowMs: number, share: number = BUSY_SHARE) {
    this.#at = nowMs;
    this.#share = share;
  }

  /** Notes that a capture ended now that took so long: an upper bound of what it cost the guest. */
  spent(costMs: number, nowMs: number): void {
    this.#refill(nowMs);
    // what a capture costs follows the machine: a slow spell counts, and is forgotten again
    this.#costMs = this.#costMs === 0 ? costMs : (this.#costMs + costMs) / 2;
    this.#level += costMs;
  }

  /** How long the next capture after a change must wait, ms. */
  waitMs(nowMs: number): number {
    this.#refill(nowMs);
    const over = this.#level - (BURST - 1) * this.#costMs;
    return Math.max(0, over / this.#share);
  }

  /** The pause until the next look for what has no event, ms. */
  idleMs(): number {
    return Math.max(LEAST_IDLE_MS, this.#costMs / IDLE_SHARE);
  }

  #refill(nowMs: number): void {
    this.#level = Math.max(0, this.#level - (nowMs - this.#at) * this.#share);
    this.#at = nowMs;
  }
}
