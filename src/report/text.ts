/** Widths of text that is drawn without asking a browser: estimates for the widest of the common sans-serif fonts. */

/** How much wider bold text is. */
export const BOLD = 1.15;

function charWidth(char: string): number {
  if ("iljtfrI.,:;'|!()[] ".includes(char)) return 0.4;
  if ('mwMW@%'.includes(char)) return 0.95;
  if (/[A-Z]/.test(char)) return 0.7;
  if (/[\u0020-\u024f]/.test(char)) return 0.62;
  return 1.05;
}

/** `text` in lines of at most `width` pixels, broken at spaces; what exceeds `most` lines ends in an ellipsis. */
export function wrapText(text: string, fontSize: number, width: number, most: number): string[] {
  const lines: string[] = [];
  let rest = text.trim();
  while (rest !== '' && lines.length < most - 1 && textWidth(rest, fontSize) > width) {
    let end = 0;
    for (let at = rest.indexOf(' '); at > 0; at = rest.indexOf(' ', at + 1)) {
      if (textWidth(rest.slice(0, at), fontSize) > width) break;
      end = at;
    }
    if (end === 0) break; // one word wider than a line: the ellipsis takes care of it
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  if (rest !== '') lines.push(fitText(rest, fontSize, width));
  return lines;
}

/** Width in pixels that `text` needs at most at `fontSize` pixels. */
export function textWidth(text: string, fontSize: number): number {
  let em = 0;
  for (const char of text) em += charWidth(char);
  return em * fontSize;
}

/** `text` shortened with an ellipsis so that it needs at most `width` pixels. */
export function fitText(text: string, fontSize: number, width: number): string {
  if (textWidth(text, fontSize) <= width) return text;
  let used = charWidth('…') * fontSize;
  let kept = '';
  for (const char of text) {
    used += charWidth(char) * fontSize;
    if (used > width) break;
    kept += char;
  }
  return `${kept.trimEnd()}…`;
}
