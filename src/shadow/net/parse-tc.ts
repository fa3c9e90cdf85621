/** Traffic control of an interface, from what the capture script printed. Pure. */
import { jsonObjects, type Report, type Section } from './capture-text.ts';
import type { Qdisc, TcClass, TcFilter } from './model.ts';
import { qdiscOf } from './parse-qdisc.ts';
import { classOf, isClassLine } from './parse-tc-class.ts';
import { type FindPin, filtersOf } from './parse-tc-filter.ts';
import { roundingOf } from './tc-burst.ts';

export interface TrafficControl {
  qdiscs: Qdisc[];
  classes: TcClass[];
  filters: TcFilter[];
}

/** Which interface, and what is known of programs. */
export interface TcContext {
  carrying: string;
  /** The direct device, below a shadow interface. */
  lower: string | undefined;
  findPin: FindPin;
}

/** Starts the line that the script has tc print after each answer. */
const BETWEEN = 'Object "end" is unknown';

/** Templates of chains: what is below them was made with the template, which `tc filter` does not take. */
function chainLines(lines: readonly string[], place: string, report: Report): void {
  let open: string[] = [];
  const close = () => {
    // a chain without a template comes back with its filters
    if (open.length > 0 && !/^chain (?:parent \S+ |block \S+ )*chain \d+\s*$/.test(open.join('\n'))) {
      report(`chain ${place}`, `a template is not made again: ${open.join('\n').trim()}`);
    }
    open = [];
  };
  for (const line of lines) {
    if (line.startsWith('chain ')) close();
    if (line.trim() !== '') open.push(line);
  }
  close();
}

/** The answers that tc gave one after the other, each ended by the line that the script asks for. */
function answers(lines: readonly string[]): string[][] {
  const found: string[][] = [];
  let open: string[] = [];
  for (const line of lines) {
    if (line.startsWith(BETWEEN)) {
      found.push(open);
      open = [];
    } else open.push(line);
  }
  if (open.some((line) => line.trim() !== '')) found.push(open);
  return found;
}

/** What tc says where there is nothing: not a failure. */
const NOTHING =
  /^(Error: (Parent Qdisc doesn't exists?|Filter with specified|Qdisc not classful|Invalid qdisc name|Class doesn't support blocks|Cannot find specified)|RTNETLINK answers: |Cannot (find|talk)|Command failed|Dump terminated|We have an error)/;

/** Sections that the capture script prints of traffic control. */
export const TC_SECTIONS = ['qdisc', 'tc-version', 'class', 'filter-places', 'filter'] as const;

/**
 * Qdiscs, classes and filters of the interface that carries the addresses.
 * @param sections `qdisc`: JSON; `tc-version`; `class`: text; `filter-places`: one place a line; `filter`: for each
 * place the filters and then the chains, each ended by tc's word that it does not know `end`
 */
export function trafficControlOf(
  sections: ReadonlyMap<string, Section>,
  { carrying, lower, findPin }: TcContext,
  report: Report,
): TrafficControl {
  const lines = (name: (typeof TC_SECTIONS)[number]) => sections.get(name)?.lines ?? [];
  const rounding = roundingOf(lines('tc-version')[0] ?? '');
  const found: TrafficControl = { qdiscs: [], classes: [], filters: [] };
  const section = sections.get('qdisc');
  for (const object of section === undefined ? [] : jsonObjects(section, report)) {
    const qdisc = qdiscOf(object, carrying, lower, report, rounding);
    if (qdisc) found.qdiscs.push(qdisc);
  }
  for (const line of lines('class')) {
    if (!isClassLine(line)) {
      if (/^\S/.test(line) && !line.startsWith('qdisc ') && !NOTHING.test(line)) report('class', line);
      continue;
    }
    const one = classOf(line, rounding, report);
    if (one !== undefined) found.classes.push(one);
  }
  const places = lines('filter-places').filter((line) => line !== '');
  const said = answers(lines('filter').filter((line) => !NOTHING.test(line)));
  if (said.length !== 2 * places.length) {
    const text = said.flat().join('\n').trim();
    if (text !== '') report('filter', text);
    return found;
  }
  for (const [at, place] of places.entries()) {
    found.filters.push(...filtersOf(said[2 * at] ?? [], place, { rounding, findPin }, report));
    chainLines(said[2 * at + 1] ?? [], place, report);
  }
  return found;
}
