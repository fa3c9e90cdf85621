/** The form of what capture.sh prints: sections, and the JSON of iproute2. Pure. */
import { ShadowferryError } from '../../errors.ts';

/** What one command (or reader) of the capture printed, with the exit code it had. */
export interface Section {
  name: string;
  code: number;
  lines: string[];
}

/** Takes what was seen and could not be understood. */
export type Report = (where: string, text: string) => void;

/** A capture that is cut off, or is none. */
export function notACapture(why: string): ShadowferryError {
  return new ShadowferryError('GUEST_COMMAND_FAILED', { command: 'the capture', code: 0, stderr: why });
}

/**
 * Splits a capture into its sections.
 * @throws ShadowferryError GUEST_COMMAND_FAILED when the capture is cut off: a half one must not become a shadow.
 */
export function splitSections(text: string): Section[] {
  const sections: Section[] = [];
  let open: Section | undefined;
  for (const line of text.split('\n')) {
    const close = line.startsWith('@@.') ? /^@@\. (\d+)$/.exec(line) : null;
    if (close && open) {
      open.code = Number(close[1]);
      sections.push(open);
      open = undefined;
    } else if (open) open.lines.push(line);
    else if (line.startsWith('@@ ')) open = { name: line.slice(3), code: 0, lines: [] };
    else if (line.trim() !== '') throw notACapture(`it begins with "${line.slice(0, 80)}"`);
  }
  if (open || sections.at(-1)?.name !== 'end') throw notACapture('its output is cut off');
  return sections.slice(0, -1);
}

/**
 * Parses JSON as iproute2 prints it: control characters in strings are left as they are, and releases
 * before 5.13 write `\'`; the options of some qdiscs are plain text. None of it is JSON.
 * @throws SyntaxError
 */
export function parseLooseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const repaired = text
      // hfsc prints its one option as text
      .replaceAll(/\{default ([0-9a-f]+) \}/g, '{"default":"$1"}')
      .replace(/\\./g, (pair) => (pair === "\\'" ? "'" : pair))
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is repaired here
      .replace(/[\x00-\x1f]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
    return JSON.parse(repaired);
  }
}

/** The objects of a section that holds JSON arrays, one a line; anything else is reported. */
export function jsonObjects(section: Section, report: Report): Record<string, unknown>[] {
  const found: Record<string, unknown>[] = [];
  for (const line of section.lines) {
    if (line.trim() === '') continue;
    let parsed: unknown;
    try {
      parsed = parseLooseJson(line);
    } catch {
      report(section.name, line);
      continue;
    }
    for (const item of Array.isArray(parsed) ? parsed : [parsed]) {
      if (isObject(item)) found.push(item);
      else report(section.name, JSON.stringify(item));
    }
  }
  return found;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Reports the keys of `object` that are in neither list. */
export function reportUnknownKeys(
  where: string,
  object: Record<string, unknown>,
  known: ReadonlySet<string>,
  report: Report,
): void {
  for (const [key, value] of Object.entries(object)) {
    if (!known.has(key)) report(where, `${key}=${JSON.stringify(value)}`);
  }
}
