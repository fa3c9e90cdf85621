/** How the probes measure time. Pure: the caller says what time it is, in epoch milliseconds with fractions. */

/** The time in epoch milliseconds, with microseconds as fraction; does not jump within one process. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

/** A pause between two answers that follow each other. */
export interface Gap {
  /** Epoch milliseconds of the last answer before it. */
  startMs: number;
  ms: number;
  /** False when no answer had ended it before the probe was stopped. */
  ended: boolean;
}

/** Finds the gaps between answers. */
export class GapMeter {
  readonly #thresholdMs: number;
  readonly #onGap: (gap: Gap) => void;
  #lastMs: number | undefined;
  #longestMs = 0;

  /** @param thresholdMs gaps that are longer are told to `onGap`. */
  constructor(thresholdMs: number, onGap: (gap: Gap) => void) {
    this.#thresholdMs = thresholdMs;
    this.#onGap = onGap;
  }

  /** The longest gap until now, in milliseconds. */
  get longestMs(): number {
    return this.#longestMs;
  }

  /** An answer has come. */
  answered(atMs: number): void {
    if (this.#lastMs !== undefined) this.#note(this.#lastMs, atMs, true);
    this.#lastMs = atMs;
  }

  /** The probe ends while an answer is still awaited: what has passed since the last one is a gap without an end. */
  unanswered(atMs: number): void {
    if (this.#lastMs !== undefined) this.#note(this.#lastMs, atMs, false);
    this.#lastMs = undefined;
  }

  #note(startMs: number, atMs: number, ended: boolean): void {
    const ms = atMs - startMs;
    this.#longestMs = Math.max(this.#longestMs, ms);
    if (ms > this.#thresholdMs) this.#onGap({ startMs, ms, ended });
  }
}

/** Finds the longest time that somebody had to wait. */
export class WaitMeter {
  #sinceMs: number | undefined;
  #longestMs = 0;

  get longestMs(): number {
    return this.#longestMs;
  }

  /** Waiting begins, unless it has begun already. */
  begin(atMs: number): void {
    this.#sinceMs ??= atMs;
  }

  end(atMs: number): void {
    if (this.#sinceMs === undefined) return;
    this.#longestMs = Math.max(this.#longestMs, atMs - this.#sinceMs);
    this.#sinceMs = undefined;
  }
}

/** Sums counts in buckets of equal length; bucket `n` begins at epoch `n * stepMs`. */
export class Buckets {
  readonly #stepMs: number;
  readonly #fields: number;
  #rows = new Map<number, number[]>();

  constructor(stepMs: number, fields: number) {
    this.#stepMs = stepMs;
    this.#fields = fields;
  }

  add(atMs: number, field: number, count: number): void {
    const bucket = Math.floor(atMs / this.#stepMs);
    let row = this.#rows.get(bucket);
    if (!row) {
      row = new Array<number>(this.#fields).fill(0);
      this.#rows.set(bucket, row);
    }
    row[field] = (row[field] ?? 0) + count;
  }

  /** Takes out the buckets that have something in them: rows of bucket number and one count per field. */
  drain(): number[][] {
    const rows = [...this.#rows].map(([bucket, counts]) => [bucket, ...counts]);
    this.#rows = new Map();
    return rows;
  }
}

/** How much may be sent or taken at a given rate; what is not used is kept for a tenth of a second only. */
export class RateLimit {
  readonly #bytesPerMs: number;
  readonly #most: number;
  #tokens = 0;
  #atMs: number;

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#most = bytesPerSecond / 10;
    this.#atMs = nowMs;
  }

  /** Bytes that may pass now; negative when too many have passed. */
  available(nowMs: number): number {
    this.#tokens = Math.min(this.#most, this.#tokens + (nowMs - this.#atMs) * this.#bytesPerMs);
    this.#atMs = nowMs;
    return Math.floor(this.#tokens);
  }

  take(bytes: number): void {
    this.#tokens -= bytes;
  }

  /** Milliseconds until something may pass again; 0 when it may now. */
  waitMs(nowMs: number): number {
    const available = this.available(nowMs);
    return available >= 0 ? 0 : -available / this.#bytesPerMs;
  }
}
