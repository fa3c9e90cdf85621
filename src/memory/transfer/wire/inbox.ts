/** Numbered frames as they come: put into order, each given once, and told when they were taken. */
import { nonsense } from './bytes.ts';
import type { Frame } from './frame.ts';
import { MAX_PAYLOAD } from './ops.ts';
import { MOST_BYTES } from './send-window.ts';

/** Bytes that came before what belongs before them; the other end never has more on its way. */
const MOST_EARLY_BYTES = 4 * (MOST_BYTES + MAX_PAYLOAD);

export class Inbox {
  /** Frames that came, in order; the next one has this number. */
  received = 0;
  /** Frames that were taken, in order. */
  taken = 0;
  readonly #early = new Map<number, Frame>();
  #earlyBytes = 0;
  readonly #done = new Set<number>();
  readonly #give: (kind: number, payload: Uint8Array) => Promise<void>;
  readonly #tell: (taken: number) => void;
  readonly #fail: (error: Error) => void;

  constructor(
    give: (kind: number, payload: Uint8Array) => Promise<void>,
    tell: (taken: number) => void,
    fail: (error: Error) => void,
  ) {
    this.#give = give;
    this.#tell = tell;
    this.#fail = fail;
  }

  /** @throws TRANSFER_PROTOCOL */
  put(frame: Frame): void {
    if (frame.number < this.received || this.#early.has(frame.number)) {
      this.#tell(this.taken); // it was sent again because nobody said that it came
      return;
    }
    this.#early.set(frame.number, frame);
    this.#earlyBytes += frame.payload.length;
    if (this.#earlyBytes > MOST_EARLY_BYTES) throw nonsense('too much before what belongs before it');
    for (let next = this.#early.get(this.received); next !== undefined; ) {
      this.#early.delete(next.number);
      this.#earlyBytes -= next.payload.length;
      this.received += 1;
      const { number, kind, payload } = next;
      this.#give(kind, payload).then(
        () => this.#took(number),
        (error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))),
      );
      next = this.#early.get(this.received);
    }
  }

  #took(number: number): void {
    this.#done.add(number);
    const before = this.taken;
    while (this.#done.delete(this.taken)) this.taken += 1;
    if (this.taken > before) this.#tell(this.taken);
  }
}
