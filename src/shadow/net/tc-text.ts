/** Words and numbers as `tc` prints them in its text form. Pure. */

/** The words of some text; quotes of `tc` ('…', "…") hold words together and stay where they are. */
export function wordsOf(text: string): string[] {
  return text.match(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g) ?? [];
}

/** Reads words from left to right. */
export class Words {
  readonly #words: readonly string[];
  #at = 0;

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  /** The next word, left where it is; undefined at the end. */
  peek(ahead = 0): string | undefined {
    return this.#words[this.#at + ahead];
  }

  /** Takes the next word; the empty text at the end. */
  next(): string {
    return this.#words[this.#at++] ?? '';
  }

  /** Takes the next word when it is `word`. */
  take(word: string): boolean {
    if (this.peek() !== word) return false;
    this.#at += 1;
    return true;
  }

  get done(): boolean {
    return this.#at >= this.#words.length;
  }

  /** All that is left. */
  rest(): string[] {
    const left = this.#words.slice(this.#at);
    this.#at = this.#words.length;
    return left;
  }
}

const RATE_UNITS: Record<string, number> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12 };
const BINARY_UNITS: Record<string, number> = { Ki: 1024, Mi: 1024 ** 2, Gi: 1024 ** 3, Ti: 1024 ** 4 };

/** Bytes a second of `3333Kbit`, `1Gibit`, `0bit`. */
export function bytesPerSecond(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]i?)?bit$/.exec(text) ?? [];
  const factor = RATE_UNITS[unit] ?? BINARY_UNITS[unit];
  return digits === undefined || factor === undefined ? undefined : (Number(digits) * factor) / 8;
}

/** Bytes of `1600b`, `32Kb`, `2Mb`. */
export function bytesOf(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)(K|M|G)?b?$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const factor = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 }[unit] ?? 1;
  return Number(digits) * factor;
}

/** What the hardware made of a filter or an action, which is for it to say again. */
const HARDWARE = new Set(['not_in_hw', 'in_hw']);

/** Takes the words that say whether hardware runs it; true when there were such. */
export function skipHardware(words: Words): boolean {
  const word = words.peek();
  if (word === undefined) return false;
  if (word === 'in_hw_count') {
    words.next();
    words.next();
    return true;
  }
  if (!HARDWARE.has(word)) return false;
  words.next();
  return true;
}
