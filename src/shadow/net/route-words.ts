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

/** How many of `rest`, which follows `encap`, belong to it. */
function encapsulationLength(rest: readonly string[]): number {
  const [kind = ''] = rest;
  let length = kind === 'mpls' ? 2 : 1;
  const known = ENCAP_VALUES[kind];
  while (known?.has(rest[length] ?? '')) length += 2;
  return length;
}

/** How many of `rest` belong to `word`, which stands before them. */
function valueCount(word: string, rest: readonly string[]): number {
  if (word === 'nexthop' || FLAGS.has(word)) return 0;
  if (word === 'encap') return encapsulationLength(rest);
  if (word === 'via') return rest[0] === 'inet' || rest[0] === 'inet6' ? 2 : 1;
  if (METRICS.has(word)) return rest[0] === 'lock' ? 2 : 1;
  return 1;
}

/** The arguments of a route word by word, of its next hops too; put together again they are the arguments. */
export function routeWords(args: readonly string[]): RouteWord[] {
  const found: RouteWord[] = [];
  for (let at = 0; at < args.length; ) {
    const word = args[at] ?? '';
    const values = args.slice(at + 1, at + 1 + valueCount(word, args.slice(at + 1, at + 16)));
    found.push({ word, values });
    at += 1 + values.length;
  }
  return found;
}

/** What stands before the first next hop, and what follows from there. */
export function splitNexthops(words: readonly RouteWord[]): { own: RouteWord[]; nexthops: RouteWord[] } {
  const at = words.findIndex(({ word }) => word === 'nexthop');
  return at < 0 ? { own: [...words], nexthops: [] } : { own: words.slice(0, at), nexthops: words.slice(at) };
}

/** Value of a word of the route itself, not of its next hops; of `via` the address alone. */
export function ownValue(args: readonly string[], word: string): string | undefined {
  return splitNexthops(routeWords(args))
    .own.find((each) => each.word === word)
    ?.values.at(-1);
}

/** The words as arguments. */
export const joinWords = (words: readonly RouteWord[]): string[] =>
  words.flatMap(({ word, values }) => [word, ...values]);
