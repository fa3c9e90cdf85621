/** The u32 classifier, from the text form of `tc -d filter show`. Pure. */
import type { FilterText, Options } from './parse-tc-filter.ts';
import { skipHardware, Words, wordsOf } from './tc-text.ts';

/** Hash tables that somebody made are below this number; those from here on the kernel makes, one for each pref. */
const FIRST_OF_KERNEL = 0x800;

const tableOf = (handle: string): number => Number.parseInt(handle, 16);

/** `fh 800: ht divisor 1`: the kernel's own table. One that somebody made is a filter of its own. */
export function emptyTable({ words }: FilterText): boolean {
  return words.peek() === 'fh' && words.peek(2) === 'ht' && tableOf(words.peek(1) ?? '') >= FIRST_OF_KERNEL;
}

/** A key: `match 0a000000/ff000000 at 12`, `match 00500000/ffff0000 at nexthdr+0`. */
function matchWords(words: Words): string[] | undefined {
  const [value, mask] = words.next().split('/');
  if (value === undefined || mask === undefined || !words.take('at')) return undefined;
  return ['match', 'u32', `0x${value}`, `0x${mask}`, 'at', words.next()];
}

/** `offset 0f00>>6 at 0 plus 4 eat`, each part only where it is set. */
function offsetWords(words: Words): string[] | undefined {
  const args: string[] = [];
  const [, mask, shift] = /^([0-9a-f]+)>>(\d+)$/.exec(words.peek() ?? '') ?? [];
  if (mask !== undefined && shift !== undefined) {
    words.next();
    if (!words.take('at')) return undefined;
    args.push('at', words.next(), 'mask', `0x${mask}`, 'shift', shift);
  }
  if (words.take('plus')) args.push('plus', words.next());
  if (words.take('eat')) args.push('eat');
  return args.length === 0 ? [] : ['offset', ...args];
}

/** A line below the first one. */
function lineWords(words: Words): string[] | undefined {
  switch (words.next()) {
    case 'match':
      return matchWords(words);
    case 'mark': {
      const args = ['match', 'mark', words.next(), words.next()];
      return words.rest()[0] === '(success' ? args : undefined;
    }
    case 'input':
      return words.take('dev') ? ['indev', words.next()] : undefined;
    case 'offset':
      return offsetWords(words);
    case 'hash': {
      if (!words.take('mask')) return undefined;
      const mask = words.next();
      return words.take('at') ? ['hashkey', 'mask', `0x${mask}`, 'at', words.next()] : undefined;
    }
    default:
      return undefined;
  }
}

/** Options of a filter, or of a hash table that somebody made. */
export function u32Options({ words, lines }: FilterText): Options | undefined {
  if (!words.take('fh')) return undefined;
  const printed = words.next();
  if (words.take('ht')) {
    if (!words.take('divisor')) return undefined;
    return { handle: printed, args: ['divisor', words.next()] };
  }
  const args: string[] = [];
  const [table = '', bucket = '', node = ''] = printed.split(':');
  const made = tableOf(table) < FIRST_OF_KERNEL;
  if (made) args.push('ht', `${table}:${bucket === '' ? '0' : bucket}:`);
  // the kernel's own tables get other numbers when others were made before them
  const handle = made ? printed : `::${node}`;
  while (!words.done) {
    if (skipHardware(words)) continue;
    const word = words.next();
    if (word === 'order' || word === 'bkt') words.next();
    else if (word === 'key' && words.take('ht')) words.next();
    else if (word === 'skip_hw' || word === 'skip_sw') args.push(word);
    else if (word === '*flowid') args.push('flowid', words.next());
    else if (word === 'link') args.push('link', words.next());
    else if (word === 'terminal' || word === 'flowid') {
      // "terminal flowid" has no value
      if (word === 'flowid') args.push('flowid', words.next());
      else words.take('flowid');
    } else return undefined;
  }
  for (const line of lines) {
    const rest = new Words(wordsOf(line));
    while (!rest.done) {
      const more = lineWords(rest);
      if (more === undefined) return undefined;
      args.push(...more);
    }
  }
  return { handle, args };
}
