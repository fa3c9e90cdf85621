/**
 * Whether a host takes one more VM. Who is refused asks again, and comes before those who ask for the first time
 * meanwhile, so that a host with many VMs to give does not keep another one waiting. Pure but for what it remembers.
 */

/** Who was refused and has not asked again for so long has given up, ms: twice the longest pause between two tries. */
const FORGET_MS = 30_000;

export interface Asker {
  source: string;
  vm: string;
}

const keyOf = ({ source, vm }: Asker) => JSON.stringify([source, vm]);

export class Admission {
  readonly #most: number;
  /** Who was refused, the first first, and when it asked last. */
  readonly #line = new Map<string, number>();

  /** @param most VMs that may be on their way here at once */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Asks for one.
   * @param coming VMs that are on their way already, without the one that asks
   * @returns why not; undefined when it may come
   */
  ask(asker: Asker, coming: number, nowMs: number): string | undefined {
    for (const [key, at] of this.#line) if (nowMs - at > FORGET_MS) this.#line.delete(key);
    const key = keyOf(asker);
    const line = [...this.#line.keys()];
    const before = this.#line.has(key) ? line.indexOf(key) : line.length;
    if (coming + before < this.#most) {
      this.#line.delete(key);
      return undefined;
    }
    this.#line.set(key, nowMs);
    const others = before === 0 ? '' : `, and ${before} wait longer`;
    return `it takes ${coming} of ${this.#most} VMs at once${others}`;
  }

  /** It does not want to come any more. */
  withdraw(asker: Asker): void {
    this.#line.delete(keyOf(asker));
  }
}
