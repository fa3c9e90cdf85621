/**
 * How much may be on its way. QEMU judges the link by how fast we take its bytes, and stops the VM when the rest fits its
 * limit; what waits here then makes the blackout longer. So it is what the link needs to stay busy, and a little more.
 */

/** Never less: it must begin somewhere. */
const LEAST_BYTES = 512 * 1024;
/** Never more; also bounds what the other end must keep to put frames into order. */
export const MOST_BYTES = 16 * 1024 * 1024;
/** Beyond the link's own round trip, ms: the most that the blackout may grow by. */
const SPARE_MS = 50;
/** Between two samples of the rate, ms. */
const SAMPLE_MS = 20;
/** What a rate that was reached once still counts after each sample. */
const KEEP_RATE = 0.98;
/** What the shortest round trip becomes after each sample, as paths change. */
const GROW_TRIP = 1.002;

export class SendWindow {
  /** Bytes that may be on their way. */
  bytes = LEAST_BYTES;
  #rate = 0;
  #trip: number | undefined;
  #sampleAt: number | undefined;
  #taken = 0;

  /** Bytes per second that the other end takes. */
  get rate(): number {
    return this.#rate * 1000;
  }

  /**
   * The other end has taken something.
   * @param tripMs since it was sent; left out when it was sent more than once
   */
  taken(bytes: number, atMs: number, tripMs?: number): void {
    if (tripMs !== undefined) this.#trip = Math.min(tripMs, (this.#trip ?? tripMs) * GROW_TRIP);
    this.#sampleAt ??= atMs;
    this.#taken += bytes;
    const elapsed = atMs - this.#sampleAt;
    if (elapsed < SAMPLE_MS) return;
    this.#rate = Math.max(this.#taken / elapsed, this.#rate * KEEP_RATE);
    this.#taken = 0;
    this.#sampleAt = atMs;
    const wanted = this.#rate * ((this.#trip ?? 0) + SPARE_MS);
    this.bytes = Math.min(MOST_BYTES, Math.max(LEAST_BYTES, Math.round(wanted)));
  }
}
