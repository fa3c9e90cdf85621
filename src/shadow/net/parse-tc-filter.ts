/**
 * `tc -d filter show`, in its text form: the JSON of iproute2 has the same key twice, leaves out the rate of
 * policers and is no JSON at all for half of the classifiers, while the text says everything. Pure.
 */
import type { Report } from './capture-text.ts';
import type { KernelProgram, TcFilter } from './model.ts';
import { actionOf, actionWords, policeOf } from './parse-tc-action.ts';
import { emptyTable, u32Options } from './parse-tc-u32.ts';
import type { Rounding } from './tc-burst.ts';
import { skipHardware, Words, wordsOf } from './tc-text.ts';

/** Finds the pin of a program that is attached by a filter, by its number and the name that tc shows. */
export type FindPin = (id: number, shown: string) => Pick<KernelProgram, 'pin' | 'why'>;

/** What is known besides what tc printed of filters. */
export interface FilterContext {
  findPin: FindPin;
  rounding: Rounding;
}

/** What a classifier says of itself: its handle and the words after its kind. */
export interface Options {
  handle: string;
  args: string[];
  program?: KernelProgram;
}

/** Lines of one filter: the words of its first line after the chain, and the lines up to its actions. */
export interface FilterText {
  words: Words;
  lines: readonly string[];
  findPin: FindPin;
}

/** Reads `skip_hw` and the like; true when the word was one. */
function hardwareWord(words: Words, args: string[]): boolean {
  if (skipHardware(words)) return true;
  const word = words.peek();
  if (word !== 'skip_hw' && word !== 'skip_sw') return false;
  args.unshift(words.next()); // first, as matchall wants another word after it
  return true;
}

/** `handle 0x1`, then `classid 1:1` and what hardware makes of it, in any order. */
function common(words: Words): Options | undefined {
  if (!words.take('handle')) return undefined;
  const options: Options = { handle: words.next(), args: [] };
  while (!words.done) {
    if (hardwareWord(words, options.args)) continue;
    const word = words.next();
    if (word === 'classid' || word === 'flowid') options.args.push('classid', words.next());
    else if (word === 'hw_tc') options.args.push('hw_tc', words.next());
    else return undefined;
  }
  return options;
}

/** Keys of flower that are printed as they are given. */
const FLOWER = new Set(
  `indev vlan_id vlan_prio vlan_ethtype cvlan_id cvlan_prio cvlan_ethtype num_of_vlans dst_mac src_mac ip_proto ip_tos
  ip_ttl dst_ip src_ip dst_port src_port tcp_flags ip_flags arp_sip arp_tip arp_op arp_sha arp_tha enc_dst_ip enc_src_ip
  enc_key_id enc_dst_port enc_tos enc_ttl mpls_label mpls_tc mpls_bos mpls_ttl ct_state ct_zone ct_mark ct_label
  ppp_proto pppoe_sid l2tpv3_sid spi`.split(/\s+/),
);
/** Of ICMP tc prints another name than it takes. */
const RENAMED: Record<string, string> = { icmp_type: 'type', icmp_code: 'code' };

function flower({ words, lines }: FilterText): Options | undefined {
  const options = common(words);
  if (options === undefined) return undefined;
  for (const line of lines) {
    const rest = new Words(wordsOf(line));
    while (!rest.done) {
      if (hardwareWord(rest, options.args)) continue;
      const name = rest.next();
      const value = rest.next();
      if (name === 'eth_type') continue; // the protocol says it
      const given = FLOWER.has(name) ? name : RENAMED[name];
      if (given === undefined || value === '') return undefined;
      // its mask is printed without the sign of a hexadecimal number, which it is
      const spelled = given === 'tcp_flags' ? value.replace(/\/(?!0x)/, '/0x') : value;
      options.args.push(given, spelled);
    }
  }
  return options;
}

function matchall({ words, lines }: FilterText): Options | undefined {
  return common(new Words([...words.rest(), ...lines.flatMap(wordsOf)]));
}

/** `handle 0x7/0xff classid 1:4`. */
function fw({ words, lines }: FilterText): Options | undefined {
  return lines.some((line) => line.trim() !== '') ? undefined : common(words);
}

/** Extended matches that are printed as they are given. */
const EMATCH = /^(?:AND |OR )?(?:NOT )?(?:cmp|meta)\([^()"]*\)$/;
const U32_EMATCH = /u32\(([0-9a-f]{8})\/([0-9a-f]{8}) at (nexthdr\+)?(\d+)\)/g;

function basic({ words, lines }: FilterText): Options | undefined {
  const options = common(words);
  if (options === undefined) return undefined;
  const terms: string[] = [];
  for (const line of lines) {
    const term = line.trim();
    if (term === '') continue;
    const plain = term.replaceAll(U32_EMATCH, 'cmp()');
    if (!EMATCH.test(plain)) return undefined;
    const relation = term.replace(/\b(AND|OR|NOT)\b/g, (word) => word.toLowerCase());
    terms.push(
      relation.replaceAll(
        U32_EMATCH,
        (_all, value: string, mask: string, next: string | undefined, at: string) =>
          `u32(u32 0x${value} 0x${mask} at ${next ?? ''}${at})`,
      ),
    );
  }
  return terms.length === 0 ? options : { ...options, args: ['match', terms.join(' '), ...options.args] };
}

function flow({ words, lines }: FilterText): Options | undefined {
  if (lines.some((line) => line.trim() !== '') || !words.take('handle')) return undefined;
  const handle = words.next();
  const way = words.next();
  if (way !== 'hash' && way !== 'map') return undefined;
  if (!words.take('keys')) return undefined;
  const args = [way, way === 'map' ? 'key' : 'keys', words.next()];
  while (!words.done) {
    const word = words.next();
    if (word === 'perturb') args.push('perturb', words.next().replace(/sec$/, ''));
    else if (['and', 'or', 'xor', 'rshift', 'addend', 'divisor', 'baseclass'].includes(word)) {
      args.push(word, words.next());
    } else return undefined;
  }
  return { handle, args };
}

/** The handle of a route classifier follows from what it matches. */
function route({ words, lines }: FilterText): Options | undefined {
  if (lines.some((line) => line.trim() !== '') || !words.take('fh')) return undefined;
  const options: Options = { handle: words.next(), args: [] };
  while (!words.done) {
    const word = words.next();
    if (word === 'flowid') options.args.push('classid', words.next());
    else if (['to', 'from', 'fromif'].includes(word)) options.args.push(word, words.next());
    else return undefined;
  }
  return options;
}

function bpf({ words, lines, findPin }: FilterText): Options | undefined {
  if (lines.some((line) => line.trim() !== '') || !words.take('handle')) return undefined;
  const handle = words.next();
  const args: string[] = [];
  let shown = '';
  let id: number | undefined;
  const known: { name?: string; tag?: string } = {};
  while (!words.done) {
    if (hardwareWord(words, args)) continue;
    const word = words.next();
    switch (word) {
      case 'flowid':
        args.push('classid', words.next());
        break;
      case 'direct-action':
        args.push('direct-action');
        break;
      case 'bytecode':
        args.unshift('bytecode', words.next().replaceAll("'", ''));
        break;
      case 'id':
        id = Number(words.next());
        break;
      case 'name':
      case 'tag':
        known[word] = words.next();
        break;
      case 'load_time':
        words.next();
        break;
      case 'jited':
      case 'created_by_uid':
        if (word === 'created_by_uid') words.next();
        break;
      default:
        if (shown !== '') return undefined;
        shown = word;
    }
  }
  if (args[0] === 'bytecode') return { handle, args };
  if (id === undefined) return undefined;
  const program: KernelProgram = { id, ...known, ...findPin(id, shown) };
  const object = program.pin === undefined ? [] : ['object-pinned', program.pin];
  return { handle, args: [...object, ...args], program };
}

const KINDS: Record<string, (text: FilterText) => Options | undefined> = {
  flower,
  matchall,
  fw,
  basic,
  flow,
  route,
  bpf,
  u32: u32Options,
};

/** What the first line of a filter says before its classifier does. */
interface Head {
  place: string;
  protocol: string;
  pref: number;
  chain: number;
  kind: string;
}

/** An EtherType without a name: `[34958]`, where tc takes `0x888e`. */
function protocolOf(printed: string): string {
  const [, number] = /^\[(\d+)\]$/.exec(printed) ?? [];
  return number === undefined ? printed : `0x${Number(number).toString(16).padStart(4, '0')}`;
}

function headOf(words: Words, asked: string): Head | undefined {
  if (!words.take('filter')) return undefined;
  let place = asked;
  for (;;) {
    // the parent that is printed says less than the one that was asked for, but a block is not what was asked for
    if (words.take('parent')) words.next();
    else if (words.take('block')) place = `block ${words.next()}`;
    else if (words.take('dev') || words.take('root')) return undefined;
    else break;
  }
  if (!words.take('protocol')) return undefined;
  const protocol = protocolOf(words.next());
  if (!words.take('pref')) return undefined;
  const pref = Number(words.next());
  const kind = words.next();
  const chain = words.take('chain') ? Number(words.next()) : 0;
  return Number.isInteger(pref) && Number.isInteger(chain)
    ? { place, protocol, pref, chain, kind }
    : undefined;
}

/** Lines of one filter, cut where its actions begin. */
function partsOf(lines: readonly string[]): { own: string[]; actions: string[][] } {
  const own: string[] = [];
  const actions: string[][] = [];
  for (const line of lines) {
    const [all] = /^\taction order \d+:\s*/.exec(line) ?? [];
    const last = actions.at(-1);
    if (all !== undefined) actions.push([line.slice(all.length)]);
    else if (last !== undefined) {
      if (line.trim() !== '') last.push(line);
    } else own.push(line);
  }
  return { own, actions };
}

function filterOf(
  lines: readonly string[],
  asked: string,
  context: FilterContext,
): TcFilter | 'nothing' | undefined {
  const { own, actions } = partsOf(lines);
  const [first = '', ...more] = own;
  const words = new Words(wordsOf(first));
  const head = headOf(words, asked);
  if (head === undefined) return undefined;
  // the classifier itself, of which the filters follow
  if (words.done && actions.length === 0 && more.every((line) => line.trim() === '')) return 'nothing';
  const old = more.findIndex((line) => line.startsWith(' police '));
  const policed = old < 0 ? undefined : policeOf(more.slice(old).join(' '), context.rounding);
  if (old >= 0 && policed === undefined) return undefined;
  const text = { words, lines: old < 0 ? more : more.slice(0, old), findPin: context.findPin };
  if (head.kind === 'u32' && actions.length === 0 && emptyTable(text)) return 'nothing';
  const options = KINDS[head.kind]?.(text);
  if (options === undefined) return undefined;
  const args = [...options.args, ...(policed === undefined ? [] : ['police', ...policed.args])];
  for (const part of actions) {
    const action = actionOf(part, context.rounding);
    if (action === undefined) return undefined;
    args.push(...actionWords(action));
  }
  return { ...head, ...options, args };
}

/**
 * Filters that hang at one place.
 * @param lines what `tc -d filter show dev DEV PLACE` printed
 * @param place `ingress`, `egress`, a qdisc (`1:`) or a class (`1:1`)
 */
export function filtersOf(
  lines: readonly string[],
  place: string,
  context: FilterContext,
  report: Report,
): TcFilter[] {
  const found: TcFilter[] = [];
  let open: string[] = [];
  const close = () => {
    if (open.length === 0) return;
    const filter = filterOf(open, place, context);
    if (filter === undefined) report(`filter ${place}`, open.join('\n').trimEnd());
    else if (filter !== 'nothing') found.push(filter);
    open = [];
  };
  for (const line of lines) {
    if (line.startsWith('filter ')) close();
    else if (open.length === 0 && line.trim() === '') continue;
    open.push(line);
  }
  close();
  return found;
}
