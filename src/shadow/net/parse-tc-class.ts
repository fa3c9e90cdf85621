/** `tc -d class show`, which has no JSON in the releases of today's distributions. Pure. */
import type { Report } from './capture-text.ts';
import type { TcClass } from './model.ts';
import { burstWord, type Rounding } from './tc-burst.ts';
import { bytesOf, bytesPerSecond, wordsOf } from './tc-text.ts';

/** Kinds whose classes somebody makes. Those of all other kinds are there by themselves. */
const MADE = new Set(['htb', 'hfsc', 'drr', 'qfq', 'cbq', 'atm', 'dsmark']);

/** Values of one class by name; of a name that is printed twice the first counts. */
type Values = ReadonlyMap<string, string>;

/** Names and values in turn; undefined when that is not what the words are. */
function valuesOf(words: readonly string[]): Values | undefined {
  if (words.length % 2 !== 0) return undefined;
  const values = new Map<string, string>();
  for (let at = 0; at < words.length; at += 2) {
    const [name = '', value = ''] = words.slice(at, at + 2);
    if (!values.has(name)) values.set(name, value);
  }
  return values;
}

const HTB = new Set(
  'prio quantum rate ceil overhead linklayer burst mpu cburst level rate64 ceil64'.split(' '),
);

/** A burst of nothing is what tc prints of one so short that the kernel does not count it: its own default. */
function htbBurst(
  name: string,
  printed: string | undefined,
  rate: string,
  rounding: Rounding,
): string[] | undefined {
  if (printed === undefined || /^0b/.test(printed)) return [];
  const bytes = bytesPerSecond(rate);
  const word = bytes === undefined ? undefined : burstWord(printed, bytes, rounding);
  return word === undefined ? undefined : [name, word];
}

function htb(words: readonly string[], rounding: Rounding): string[] | undefined {
  const values = valuesOf(words);
  const rate = values?.get('rate');
  if (values === undefined || rate === undefined) return undefined;
  if ([...values.keys()].some((name) => !HTB.has(name))) return undefined;
  const ceil = values.get('ceil') ?? rate;
  const burst = htbBurst('burst', values.get('burst'), rate, rounding);
  const cburst = htbBurst('cburst', values.get('cburst'), ceil, rounding);
  if (burst === undefined || cburst === undefined) return undefined;
  const args = ['rate', rate, 'ceil', ceil, ...burst, ...cburst];
  for (const name of ['prio', 'quantum']) {
    const value = values.get(name);
    if (value !== undefined) args.push(name, value);
  }
  const overhead = bytesOf(values.get('overhead') ?? '0');
  const mpu = bytesOf(values.get('mpu') ?? '0');
  if (overhead === undefined || mpu === undefined) return undefined;
  if (overhead !== 0) args.push('overhead', String(overhead));
  if (mpu !== 0) args.push('mpu', String(mpu));
  const layer = values.get('linklayer');
  if (layer !== undefined && layer !== 'ethernet') args.push('linklayer', layer);
  return args;
}

const CURVES = new Set(['sc', 'rt', 'ls', 'ul']);
const CURVE_FIELDS = new Set(['m1', 'd', 'm2']);

/** `sc m1 0bit d 23ms m2 400Kbit ul m1 0bit d 0us m2 1Mbit`: what tc takes, word for word. */
function hfsc(words: readonly string[]): string[] | undefined {
  const args: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (CURVES.has(word)) args.push(word);
    else if (CURVE_FIELDS.has(word) && args.length > 0) {
      at += 1;
      const value = words[at];
      if (value === undefined) return undefined;
      args.push(word, value);
    } else return undefined;
  }
  return args.length === 0 ? undefined : args;
}

/** Kinds of which every name is an argument, its value a number or a size. */
const plain =
  (...names: string[]) =>
  (words: readonly string[]): string[] | undefined => {
    const values = valuesOf(words);
    if (values === undefined || [...values.keys()].some((name) => !names.includes(name))) return undefined;
    const args: string[] = [];
    for (const [name, value] of values) {
      const bytes = bytesOf(value);
      if (bytes === undefined) return undefined;
      args.push(name, String(bytes));
    }
    return args;
  };

const KINDS: Record<string, (words: readonly string[], rounding: Rounding) => string[] | undefined> = {
  htb,
  hfsc,
  drr: plain('quantum'),
  qfq: plain('weight', 'maxpkt'),
};

/** The qdisc of a class: `1:` of `1:10`. */
const qdiscOfClass = (id: string): string => id.slice(0, id.indexOf(':') + 1);

/** One line of `tc class show`. Classes that are there by themselves are none; what is not understood is reported. */
export function classOf(line: string, rounding: Rounding, report: Report): TcClass | undefined {
  // iproute2 6.15 forgets a blank: `burst 1600b/1mpu 0b`
  const [, kind = '', id = '', ...words] = wordsOf(line.replaceAll(/(\/\d+)(?=mpu )/g, '$1 '));
  if (!MADE.has(kind)) return undefined;
  const first = words.shift();
  const parent = first === 'parent' ? words.shift() : first === 'root' ? qdiscOfClass(id) : undefined;
  if (kind === 'hfsc' && first === 'root' && id === qdiscOfClass(id)) return undefined; // the qdisc itself
  if (words[0] === 'leaf') words.splice(0, 2);
  const args = KINDS[kind]?.(words, rounding);
  if (parent === undefined || args === undefined) {
    report('class', line.trim());
    return undefined;
  }
  return { kind, id, parent, args };
}

/** Is this the first line of what tc prints of a class? */
export const isClassLine = (line: string): boolean => line.startsWith('class ');
