/** Actions of filters, from the text form of `tc -d filter show`. Pure. */
import { peditArguments } from './parse-tc-pedit.ts';
import { burstBytes, burstWord, type Rounding } from './tc-burst.ts';
import { bytesOf, bytesPerSecond, skipHardware, Words, wordsOf } from './tc-text.ts';

/** One action, as it would be written after the word `action`. */
export interface Action {
  kind: string;
  args: string[];
  /** Words that come after the index: a cookie, what hardware shall count. */
  last: string[];
  index: number | undefined;
  /** Used by more than this filter, or made by itself: it keeps its index, so that it is one action again. */
  shared: boolean;
}

/** What all actions have at their end. */
interface Tail {
  index: number | undefined;
  shared: boolean;
  /** Words that follow: a cookie, what hardware counts. */
  args: string[];
}

const VERDICTS = new Set(['pass', 'ok', 'drop', 'reclassify', 'pipe', 'continue', 'stolen', 'trap']);

/** Takes what becomes of the packet: `drop`, `goto chain 5`, `jump 2`. */
function verdict(words: Words): string[] | undefined {
  const word = words.peek() ?? '';
  if (VERDICTS.has(word)) return [words.next()];
  if (word === 'jump') return [words.next(), words.next()];
  if (word === 'goto' && words.peek(1) === 'chain') return [words.next(), words.next(), words.next()];
  return undefined;
}

function tailOf(words: Words): Tail | undefined {
  const tail: Tail = { index: undefined, shared: false, args: [] };
  let references = 1;
  let bound = 1;
  while (!words.done) {
    if (skipHardware(words)) continue;
    const word = words.next();
    switch (word) {
      case 'index':
        tail.index = Number(words.next());
        break;
      case 'ref':
        references = Number(words.next());
        break;
      case 'bind':
        bound = Number(words.next());
        break;
      case 'cookie':
      case 'hw_stats':
        tail.args.push(word, words.next());
        break;
      case 'used_hw_stats':
        words.next();
        break;
      case 'skip_hw':
      case 'skip_sw':
      case 'no_percpu':
        tail.args.push(word);
        break;
      default:
        return undefined;
    }
  }
  tail.shared = bound > 1 || references > bound;
  return tail;
}

type Reader = (words: Words, lines: readonly string[], rounding: Rounding) => string[] | undefined;

/** Takes words up to the verdict, each of them an argument; `valued` ones have a value. */
function until(words: Words, bare: readonly string[], valued: readonly string[]): string[] | undefined {
  const args: string[] = [];
  for (;;) {
    const end = verdict(words);
    if (end !== undefined) return [...args, ...end];
    const word = words.next();
    if (bare.includes(word)) args.push(word);
    else if (valued.includes(word)) args.push(word, words.next());
    else return undefined;
  }
}

const gact: Reader = (words) => {
  words.take('action');
  const args = verdict(words);
  if (args === undefined) return undefined;
  if (words.take('random')) {
    words.take('type');
    const type = words.next();
    const instead = verdict(words);
    const value = words.take('val') ? words.next() : undefined;
    if (instead === undefined || value === undefined) return undefined;
    if (type !== 'none') args.push('random', type, ...instead, value);
  }
  return args;
};

const mirred: Reader = (words) => {
  const side = words.next().slice(1).toLowerCase();
  const way = words.next().toLowerCase();
  if (!/^(ingress|egress)$/.test(side) || !/^(mirror|redirect)$/.test(way)) return undefined;
  if (words.next() !== 'to' || words.next() !== 'device') return undefined;
  const dev = words.next();
  const end = verdict(words);
  if (!dev.endsWith(')') || end === undefined) return undefined;
  const usual = way === 'mirror' ? 'pipe' : 'stolen';
  return [side, way, 'dev', dev.slice(0, -1), ...(end.join(' ') === usual ? [] : end)];
};

/** Most that the kernel counts in a packet's size: what a policer has that was given none. */
const ANY_MTU = '4096Mb';

/** `rate 1Mbit burst 10Kb mtu 2Kb action drop overhead 0b linklayer ethernet`. */
const police: Reader = (words, _lines, rounding) => {
  const args: string[] = [];
  const rate = words.take('rate') ? words.next() : '0bit';
  const bytes = bytesPerSecond(rate);
  const burst = words.take('burst') ? words.next() : '0b';
  const limited = bytes !== undefined && bytes > 0;
  if (limited) {
    const word = burstWord(burst, bytes, rounding);
    if (word === undefined) return undefined;
    args.push('rate', rate, 'burst', word);
  }
  for (;;) {
    const word = words.next();
    if (word === 'mtu') {
      const mtu = words.next();
      if (mtu !== ANY_MTU) args.push('mtu', mtu);
    } else if (word === 'pkts_rate') {
      const packets = words.next();
      if (!words.take('pkts_burst')) return undefined;
      const many = burstBytes(Number(words.next()), Number(packets), 'tc', rounding);
      args.push('pkts_rate', packets, 'pkts_burst', String(many));
    } else if (word === 'peakrate' || word === 'avrate') args.push(word, words.next());
    else if (word === 'action') break;
    else return undefined;
  }
  const verdicts = verdict(words) ?? policeVerdicts(words);
  if (verdicts === undefined) return undefined;
  args.push('conform-exceed', ...verdicts);
  if (words.take('overhead')) {
    const overhead = bytesOf(words.next());
    if (overhead === undefined) return undefined;
    if (overhead !== 0) args.push('overhead', String(overhead));
  }
  if (words.take('linklayer')) {
    const layer = words.next();
    if (layer !== 'ethernet' && layer !== 'unspec') args.push('linklayer', layer);
  }
  return args;
};

/** `drop/pipe`: of what exceeds, and of what conforms. */
function policeVerdicts(words: Words): string[] | undefined {
  const word = words.next();
  return word.split('/').every((each) => VERDICTS.has(each)) ? [word] : undefined;
}

const vlan: Reader = (words) => {
  const way = words.next();
  if (!['pop', 'push', 'modify', 'pop_eth', 'push_eth'].includes(way)) return undefined;
  const rest = until(words, [], ['id', 'protocol', 'priority', 'dst_mac', 'src_mac']);
  return rest === undefined ? undefined : [way, ...rest];
};

const CHECKSUMS: Record<string, string> = { iph: 'ip4h' };

const csum: Reader = (words) => {
  const fields: string[] = [];
  for (let word = words.next(); word !== 'action'; word = words.next()) {
    const name = word.replace(/[(),]/g, '');
    if (name === '') return undefined;
    fields.push(CHECKSUMS[name] ?? name);
  }
  const end = verdict(words);
  return end === undefined || fields.length === 0 ? undefined : [fields.join(' and '), ...end];
};

const tunnelKey: Reader = (words) => {
  const way = words.next();
  if (way !== 'set' && way !== 'unset') return undefined;
  const args = [way];
  const valued = ['src_ip', 'dst_ip', 'dst_port', 'tos', 'ttl'];
  for (;;) {
    const end = verdict(words);
    if (end !== undefined) return [...args, ...end];
    const word = words.next();
    if (word === 'key_id') args.push('id', words.next());
    else if (valued.includes(word)) args.push(word, words.next());
    else if (word === 'csum' || word === 'nocsum' || word === 'nofrag') args.push(word);
    else return undefined;
  }
};

const skbmod: Reader = (words) => {
  const end = verdict(words);
  if (end === undefined) return undefined;
  const args: string[] = [];
  while (words.peek() === 'set' || words.peek() === 'swap') {
    const word = words.next();
    if (word === 'swap') args.push('swap', words.next());
    else args.push('set', words.next(), words.next());
  }
  return [...args, ...end];
};

/** `ct commit mark 1/0xff zone 5 nat src addr 1.2.3.4 port 1000-2000 pipe`. */
const ct: Reader = (words) =>
  until(
    words,
    ['commit', 'force', 'clear', 'nat', 'src', 'dst'],
    ['mark', 'label', 'zone', 'addr', 'port', 'helper'],
  );

const sample: Reader = (words) => {
  const args: string[] = [];
  for (;;) {
    const end = verdict(words);
    if (end !== undefined) return [...args, ...end];
    const word = words.next();
    if (word === 'rate') args.push('rate', words.next().replace(/^1\//, ''));
    else if (word === 'group') args.push('group', words.next());
    else if (word === 'trunc_size') args.push('trunc', words.next());
    else return undefined;
  }
};

const simple: Reader = (words, lines) => {
  const [, text] = /<(.*)>$/.exec(lines[0] ?? '') ?? [];
  while (words.peek() !== undefined && words.peek() !== 'index') words.next();
  return text === undefined ? undefined : ['sdata', text];
};

const pedit: Reader = (words, lines) => {
  words.take('action');
  const end = verdict(words);
  const keys = peditArguments(lines.filter((line) => line.includes('key #')));
  while (words.peek() !== undefined && words.peek() !== 'index') words.next();
  return end === undefined || keys === undefined ? undefined : [...keys, ...end];
};

const READERS: Record<string, Reader> = {
  gact,
  mirred,
  vlan,
  csum,
  skbmod,
  ct,
  sample,
  pedit,
  tunnel_key: tunnelKey,
  Simple: simple,
  connmark: (words) => until(words, [], ['zone']),
  skbedit: (words) =>
    until(words, ['inheritdsfield'], ['queue_mapping', 'priority', 'mark', 'ptype', 'mask']),
};

/** A policer of the old kind, which hangs at its filter without being an action: `police 0x1 rate …`. */
export function policeOf(line: string, rounding: Rounding): { args: string[] } | undefined {
  const words = new Words(wordsOf(line));
  if (!words.take('police')) return undefined;
  const index = Number(words.next());
  const args = police(words, [line], rounding);
  const tail = tailOf(words);
  if (args === undefined || tail === undefined || !Number.isInteger(index)) return undefined;
  return { args: tail.shared ? [...args, 'index', String(index)] : args };
}

/** The lines of one action, `action order N:` taken off. Undefined when they are not understood. */
export function actionOf(lines: readonly string[], rounding: Rounding): Action | undefined {
  const text = lines.filter((line) => !line.includes('key #')).join(' ');
  const words = new Words(wordsOf(text));
  const kind = words.next();
  if (kind === 'police') {
    const index = Number(words.next());
    const args = police(words, lines, rounding);
    const tail = tailOf(words);
    if (args === undefined || tail === undefined || !Number.isInteger(index)) return undefined;
    return { kind, args, last: tail.args, index, shared: tail.shared };
  }
  const args = READERS[kind]?.(words, lines, rounding);
  const tail = tailOf(words);
  if (args === undefined || tail === undefined) return undefined;
  return {
    kind: kind === 'Simple' ? 'simple' : kind,
    args: args.flatMap((word) => (kind === 'csum' ? word.split(' ') : [word])),
    last: tail.args,
    index: tail.index,
    shared: tail.shared,
  };
}

/** The words of an action, with its index where it is shared. */
export function actionWords({ kind, args, last, index, shared }: Action): string[] {
  const again = shared && index !== undefined ? ['index', String(index)] : [];
  return ['action', kind, ...args, ...again, ...last];
}
