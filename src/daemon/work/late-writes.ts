/** What a full disk did not take is written when there is room again, each piece in its order. */
import type { Logger } from 'pino';
import { reasonOf } from '../../errors.ts';

const AGAIN_MS = 1_000;

export interface LateWritesOptions {
  log: Logger;
  /** Between two tries, ms. */
  againMs?: number;
}

export class LateWrites {
  readonly #options: LateWritesOptions;
  readonly #left = new Map<string, () => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LateWritesOptions) {
    this.#options = options;
  }

  /** @param what names it, for the log @param write throws as long as the disk does not take it */
  add(what: string, write: () => void): void {
    this.#left.set(what, write);
    this.#wait();
  }

  /** Whether something is left to be written. */
  get behind(): boolean {
    return this.#left.size > 0;
  }

  /** Tries once more, and then leaves it: the next process goes by what is there. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#tryAll();
    for (const what of this.#left.keys()) this.#options.log.error({ what }, 'what was not written is lost');
    this.#left.clear();
  }

  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#tryAll();
      if (this.behind) this.#wait();
    }, this.#options.againMs ?? AGAIN_MS).unref();
  }

  #tryAll(): void {
    for (const [what, write] of this.#left) {
      try {
        write();
        this.#left.delete(what);
        this.#options.log.info({ what }, 'written late');
      } catch (error) {
        this.#options.log.warn({ what, why: reasonOf(error) }, 'it still cannot be written');
      }
    }
  }
}
