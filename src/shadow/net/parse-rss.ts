/** `ethtool -x` and `ethtool -n DEV rx-flow-hash TYPE`: how a device spreads what it receives over its queues. Pure. */
import type { Setting } from './model.ts';

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The table that `ethtool -X weight …` makes: as many entries in a row for each queue as its weight asks for. */
export function weightedTable(weights: readonly number[], size: number): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const table: number[] = [];
  let queue = -1;
  let partial = 0;
  for (let at = 0; at < size; at++) {
    while (total > 0 && at >= Math.floor((size * partial) / total)) {
      queue += 1;
      partial += weights[queue] ?? 0;
    }
    table.push(queue);
  }
  return table;
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((entry, at) => entry === b[at]);

/**
 * An indirection table in words that hold for tables of any size: `equal` (over all queues), `equal N`,
 * `weight W0 W1 …`. A table in an order that ethtool cannot make is `counts C0 C1 …`: the shares say enough to make one
 * of the same proportions.
 */
export function spreadOf(table: readonly number[], rings: number): string {
  const queues = Math.max(...table) + 1;
  if (
    same(
      table,
      table.map((_, at) => at % queues),
    )
  )
    return queues === rings ? 'equal' : `equal ${queues}`;
  const counts = Array.from({ length: queues }, (_, queue) => table.filter((to) => to === queue).length);
  const common = counts.reduce(gcd, 0);
  const weights = counts.map((count) => count / common);
  const isWeighted = same(table, weightedTable(weights, table.length));
  return `${isWeighted ? 'weight' : 'counts'} ${(isWeighted ? weights : counts).join(' ')}`;
}

/**
 * Reads `-x` into `rss.spread`, `rss.key` and `rss.function`.
 * @param defaultKey the key that this boot of the kernel gives to every device; where a device has it, that is said
 * (`default`), as it says more than the number.
 */
export function parseRss(lines: readonly string[], defaultKey: string | undefined): Setting[] {
  const settings: Setting[] = [];
  const head = lines.map((line) => /indirection table for .* with (\d+) RX ring/.exec(line)?.[1]);
  const rings = Number(head.find((count) => count !== undefined) ?? 0);
  const table = lines.flatMap((line) => {
    const entries = /^\s*\d+:((?:\s+\d+)+)\s*$/.exec(line)?.[1];
    return entries === undefined ? [] : entries.trim().split(/\s+/).map(Number);
  });
  if (table.length > 0) settings.push({ name: 'rss.spread', value: spreadOf(table, rings) });
  const key = lines.find((line) => /^([0-9a-f]{2}:)+[0-9a-f]{2}$/.test(line));
  if (key !== undefined) {
    const isDefault = defaultKey?.startsWith(key) ?? false;
    settings.push({ name: 'rss.key', value: isDefault ? 'default' : key });
  }
  const hash = lines.findIndex((line) => /^RSS hash function:/.test(line));
  const on = hash < 0 ? undefined : lines.slice(hash + 1).find((line) => /^\s+\S+: on$/.test(line));
  if (on !== undefined) settings.push({ name: 'rss.function', value: on.trim().split(':')[0] ?? '' });
  return settings;
}

/** Lines of `-n DEV rx-flow-hash` and the letters by which `-N` takes them, in the order of its manual. */
const FIELDS: readonly [RegExp, string][] = [
  [/^L2DA$/, 'm'],
  [/^VLAN tag$/, 'v'],
  [/^L3 proto$/, 't'],
  [/^IP SA$/, 's'],
  [/^IP DA$/, 'd'],
  [/^L4 bytes 0 & 1/, 'f'],
  [/^L4 bytes 2 & 3/, 'n'],
  [/^GTP /, 'e'],
  [/discarded on RX$/, 'r'],
];

/** Reads the fields that flows of one type are spread by, as `-N` takes them (`sdfn`); nothing where there are none. */
export function parseFlowHash(lines: readonly string[]): string | undefined {
  const letters = FIELDS.filter(([pattern]) => lines.some((line) => pattern.test(line.trim())));
  return letters.length === 0 ? undefined : letters.map(([, letter]) => letter).join('');
}
