/**
 * The language of a route's arguments: which words take how many values. Names of interfaces, tables and protocols
 * may be words of that language themselves (`dev via`), so a word means something only where a word is due. Pure.
 */

/** Metrics that take one value, with an optional `lock` before it. */
export const METRICS: ReadonlySet<string> = new Set(
  'mtu advmss rtt rttvar window cwnd ssthresh reordering hoplimit initcwnd initrwnd rto_min quickack congctl fastopen_no_cookie features'.split(
    ' ',
  ),
);
export const FLAGS: ReadonlySet<string> = new Set(['onlink', 'pervasive']);
/** Words of an encapsulation that take a value, by its kind; `seg6` is written `mode` and `segs` in a plan. */
export const ENCAP_WORDS: Readonly<Record<string, ReadonlySet<string>>> = {
  ip: new Set(['id', 'src', 'dst', 'ttl', 'tos']),
  ip6: new Set(['id', 'src', 'dst', 'hoplimit', 'tc']),
};
const ENCAP_VALUES: Readonly<Record<string, ReadonlySet<string>>> = {
  ...ENCAP_WORDS,
  seg6: new Set(['mode', 'segs']),
  mpls: new Set(['ttl']),
};

/** A word and what belongs to it: `via inet6 fe80::1`, `mtu lock 1400`, `nexthop`. */
export interface RouteWord {
  word: string;
  values: readonly string[];
}

/** How many arguments after the `encap` at `at` belong to it. */
function encapsulationLength(args: readonly string[], at: number): number {
  const kind = args[at + 1] ?? '';
  let length = kind === 'mpls' ? 2 : 1;
  const known = ENCAP_VALUES[kind];
  while (known?.has(args[at + 1 + length] ?? '')) length += 2;
  return length;
}

/** How many arguments after the word at `at` belong to it. */
function valueCount(args: readonly string[], at: number): number {
  const word = args[at] ?? '';
  if (word === 'nexthop' || FLAGS.has(word)) return 0;
  if (word === 'encap') return encapsulationLength(args, at);
  const next = args[at + 1];
  if (word === 'via') return next === 'inet' || next === 'inet6' ? 2 : 1;
  return next === 'lock' && METRICS.has(word) ? 2 : 1;
}

/** A guest may have many thousand routes, each of which is asked for its words by capture, keys and plan. */
const parsed = new WeakMap<readonly string[], readonly RouteWord[]>();

/** The arguments of a route word by word, of its next hops too; put together again they are the arguments. */
export function routeWords(args: readonly string[]): readonly RouteWord[] {
  const known = parsed.get(args);
  if (known !== undefined) return known;
  const found: RouteWord[] = [];
  for (let at = 0; at < args.length; ) {
    const end = at + 1 + valueCount(args, at);
    found.push({ word: args[at] ?? '', values: args.slice(at + 1, end) });
    at = end;
  }
  parsed.set(args, found);
  return found;
}

/** Where the next hops begin among the arguments; behind the last one where there are none. */
export function nexthopsAt(args: readonly string[]): number {
  let at = 0;
  for (const { word, values } of routeWords(args)) {
    if (word === 'nexthop') return at;
    at += 1 + values.length;
  }
  return at;
}

/** Value of a word of the route itself, not of its next hops; of `via` the address alone. */
export function ownValue(args: readonly string[], word: string): string | undefined {
  for (const each of routeWords(args)) {
    if (each.word === 'nexthop') return undefined;
    if (each.word === word) return each.values.at(-1);
  }
  return undefined;
}

/** The words as arguments. */
export const joinWords = (words: readonly RouteWord[]): string[] =>
  words.flatMap(({ word, values }) => [word, ...values]);
