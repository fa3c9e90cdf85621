/**
 * What one look at a device leaves for the next, in the same migration: sections of a capture that cannot have become
 * others, so that the driver is not asked for them again. What can be set is never among them. Pure.
 */
import { type Section, splitSections } from './capture-text.ts';

/** A driver says so of what it does not know; nothing but another driver or another configuration changes that. */
const UNKNOWN_TO_DRIVER = /not supported/;
const SAID_BESIDE = /not supported|retrieval failed|^\s*$/;

/** What a driver may make its answers depend on: when one of these is another, everything is asked again. */
const CONFIGURATION = ['ethtool-k', 'ethtool-settings', 'ethtool-priv-flags'] as const;

/** What a driver cannot do does not change, nor do its clocks. */
function lasts({ name, code, lines }: Section): boolean {
  if (name === 'ethtool-T') return code === 0;
  if (!name.startsWith('ethtool-') || code === 0) return false;
  return lines.some((line) => UNKNOWN_TO_DRIVER.test(line)) && lines.every((line) => SAID_BESIDE.test(line));
}

/** `DEVICE KEY VALUE` of the section of sysfs. */
function factIn(sections: ReadonlyMap<string, Section>, device: string, key: string): string | undefined {
  const start = `${device} ${key} `;
  const line = sections.get('sysfs')?.lines.find((each) => each.startsWith(start));
  return line?.slice(start.length);
}

const byName = (text: string): Map<string, Section> =>
  new Map(splitSections(text).map((section) => [section.name, section]));

const textOf = ({ name, code, lines }: Section): string =>
  [`@@ ${name}`, ...lines, `@@. ${code}`, ''].join('\n');

/** Of one device in one boot of its guest; the script compares both, by the boot's id and the interface's index. */
export class CaptureMemory {
  #known = '';
  #lasting: Section[] = [];
  #configuration = new Map<string, string>();

  /** Argument of the capture script: what it need not ask for. Empty: it asks for everything. */
  get known(): string {
    return this.#known;
  }

  /**
   * A capture that was made with `known`, with what was left out of it.
   * @returns undefined when the device is not configured as it was: then it is to be captured without `known`.
   * @throws ShadowferryError GUEST_COMMAND_FAILED when the capture is cut off.
   */
  completed(text: string): string | undefined {
    const sections = byName(text);
    const left = this.#lasting.filter(({ name }) => !sections.has(name));
    if (left.length === 0 || !sections.has('ethtool-k')) return text;
    for (const name of CONFIGURATION) {
      const section = sections.get(name);
      if (section !== undefined && textOf(section) !== this.#configuration.get(name)) return undefined;
    }
    const end = text.lastIndexOf('@@ end\n');
    return text.slice(0, end) + left.map(textOf).join('') + text.slice(end);
  }

  /**
   * Keeps what lasts of a whole capture.
   * @throws ShadowferryError GUEST_COMMAND_FAILED when it is cut off.
   */
  keep(text: string): void {
    const sections = byName(text);
    const start = 'device ';
    const named = sections.get('capture')?.lines.find((line) => line.startsWith(start));
    const device = named?.slice(start.length) ?? '';
    const [boot, index] = ['boot', 'ifindex'].map((key) => factIn(sections, device, key));
    this.#lasting = [...sections.values()].filter(lasts);
    this.#configuration = new Map(
      CONFIGURATION.flatMap((name) => {
        const section = sections.get(name);
        return section === undefined ? [] : [[name, textOf(section)] as const];
      }),
    );
    this.#known =
      boot === undefined || index === undefined || this.#lasting.length === 0
        ? ''
        : [boot, index, ...this.#lasting.map(({ name }) => name)].join(' ');
  }
}
