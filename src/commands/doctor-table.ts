import { styleText } from 'node:util';
import type { Check } from '../base/check.ts';

const SIGNS = { ok: ['✔', 'green'], warn: ['!', 'yellow'], missing: ['✖', 'red'] } as const;

/** Breaks text between words into lines of at most `width` characters; a longer word has a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/**
 * The checks as text for people: groups with headings, names and findings in columns, what to do below.
 * @param width columns of the terminal
 * @param colour whether to use ANSI colours
 */
export function renderChecks(checks: readonly Check[], width: number, colour: boolean): string {
  const nameWidth = Math.max(0, ...checks.map(({ name }) => name.length));
  const indent = ' '.repeat(nameWidth + 6);
  const room = Math.max(30, width - indent.length);
  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    colour ? styleText(style, text, { validateStream: false }) : text;
  const lines: string[] = [];
  for (const group of new Set(checks.map((check) => check.group))) {
    if (lines.length > 0) lines.push('');
    lines.push(paint('bold', group));
    for (const check of checks.filter((candidate) => candidate.group === group)) {
      const [sign, style] = SIGNS[check.state];
      const [first = '', ...rest] = wrap(check.detail, room);
      lines.push(`  ${paint(style, sign)} ${check.name.padEnd(nameWidth)}  ${first}`);
      lines.push(...rest.map((line) => indent + line));
      if (check.fix === undefined) continue;
      const [start = '', ...more] = wrap(`→ ${check.fix}`, room);
      lines.push(...[start, ...more.map((line) => `  ${line}`)].map((line) => indent + paint('dim', line)));
    }
  }
  return `${lines.join('\n')}\n`;
}
