/**
 * HTML and SVG as values. The `markup` tag escapes everything that is put into it, so text from a guest can become
 * markup nowhere: only a Markup made here is trusted, and a private field keeps look-alikes out.
 */

/** Longest text that is shown of one value; what is cut is counted. */
const LONGEST = 2000;

/** Characters that are not seen or that reorder what is near them (controls, bidi overrides, line separators). */
const UNSEEN = /(?![\t\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\u{fffe}\u{ffff}]/gu;

function codePoint(char: string): string {
  return `‹U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}›`;
}

/**
 * Untrusted text made honest to look at: well-formed, of bounded length, with invisible and reordering characters
 * spelled out and stacked combining marks limited. Not escaped yet.
 */
export function visible(text: string): string {
  const cut =
    text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length - LONGEST} more characters)` : text;
  return cut
    .toWellFormed()
    .replace(UNSEEN, codePoint)
    .replace(/(\p{M}{4})\p{M}+/gu, '$1…');
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
}

/** Untrusted text for an element or a quoted attribute of HTML or XML. */
export function escapeText(text: string): string {
  return escaped(visible(text));
}

/** A finished piece of markup. */
export class Markup {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

/** What may be put into `markup`; null, undefined and false leave nothing. */
export type Part = Markup | string | number | null | undefined | false | readonly Part[];

function render(part: Part): string {
  if (part instanceof Markup) return part.toString();
  if (typeof part === 'string') return escapeText(part);
  if (typeof part === 'number') {
    if (!Number.isFinite(part)) throw new RangeError(`${part} cannot be drawn`);
    return String(Math.round(part * 100) / 100);
  }
  if (part === null || part === undefined || part === false) return '';
  return part.map(render).join('');
}

/** Template tag: literal parts are markup, values are escaped; numbers keep two decimals. */
export function markup(literals: TemplateStringsArray, ...parts: Part[]): Markup {
  let text = literals[0] ?? '';
  parts.forEach((part, index) => {
    text += render(part) + (literals[index + 1] ?? '');
  });
  return new Markup(text);
}

/** Markup that this program wrote itself (style sheets, scripts). Never pass data. */
export function trusted(text: string): Markup {
  return new Markup(text);
}

/** A value as JSON for a quoted attribute, whatever its length. Only for values that this program computed. */
export function jsonAttribute(value: unknown): Markup {
  return new Markup(escaped(JSON.stringify(value)));
}
