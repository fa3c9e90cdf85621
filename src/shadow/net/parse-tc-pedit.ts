/** Keys of a pedit action. `tc` prints masked 32-bit words; what it takes are names of fields. Pure. */

/** One line of what tc prints: `key #0  at ipv4+8: val 40000000 mask 00ffffff`. */
interface Key {
  header: string;
  offset: number;
  command: 'set' | 'add';
  value: number;
  /** Bits that change. */
  bits: number;
}

interface Field {
  name: string;
  /** Byte offset in its header. */
  at: number;
  bytes: number;
  form: 'number' | 'ipv4';
}

const field = (name: string, at: number, bytes: number, form: Field['form'] = 'number'): Field => ({
  name,
  at,
  bytes,
  form,
});

/** Fields that fit a 32-bit word, by the header as tc prints it. */
const FIELDS: Record<string, { word: string; fields: readonly Field[] }> = {
  ipv4: {
    word: 'ip',
    fields: [
      field('tos', 1, 1),
      field('ttl', 8, 1),
      field('protocol', 9, 1),
      field('src', 12, 4, 'ipv4'),
      field('dst', 16, 4, 'ipv4'),
    ],
  },
  ipv6: {
    word: 'ip6',
    fields: [field('payload_len', 4, 2), field('nexthdr', 6, 1), field('hoplimit', 7, 1)],
  },
  tcp: { word: 'tcp', fields: [field('sport', 0, 2), field('dport', 2, 2), field('flags', 13, 1)] },
  udp: { word: 'udp', fields: [field('sport', 0, 2), field('dport', 2, 2)] },
  eth: { word: 'eth', fields: [field('type', 12, 2)] },
};

const ALL = 0xffffffff;
const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;
const pad = (value: number, digits: number): string => (value >>> 0).toString(16).padStart(digits, '0');
const dotted = (value: number): string => [24, 16, 8, 0].map((by) => (value >>> by) & 255).join('.');

const KEY = /^\s*key #\d+\s+at (?:(\w+)\+)?(-?\d+): (val|add) ([0-9a-f]{8}) mask ([0-9a-f]{8})$/;

function keyOf(line: string): Key | undefined {
  const [, header = '', offset, command, value, mask] = KEY.exec(line) ?? [];
  if (offset === undefined || value === undefined || mask === undefined) return undefined;
  const bits = ~Number.parseInt(mask, 16) >>> 0;
  const changed = Number.parseInt(value, 16);
  // bits that are kept and inverted: tc's `invert`, of which it does not show how many bytes it meant
  if ((changed & ~bits) !== 0) return undefined;
  return {
    header,
    offset: Number(offset),
    command: command === 'add' ? 'add' : 'set',
    value: changed,
    bits,
  };
}

function words(of: string, name: string[], key: Key, value: string, retain: string | undefined): string[] {
  return ['munge', of, ...name, key.command, value, ...(retain === undefined ? [] : ['retain', retain])];
}

function named(key: Key): string[] | undefined {
  const known = FIELDS[key.header];
  for (const { name, at, bytes, form } of known?.fields ?? []) {
    if (at - (at % 4) !== key.offset) continue;
    const shift = 32 - 8 * ((at % 4) + bytes);
    const full = bytes === 4 ? ALL : 2 ** (8 * bytes) - 1;
    if ((key.bits & ~((full << shift) >>> 0)) !== 0) continue;
    const value = (key.value >>> shift) & full;
    const bits = ((key.bits >>> shift) & full) >>> 0;
    const shown = form === 'ipv4' ? dotted(value) : hex(value);
    return words(known?.word ?? '', [name], key, shown, bits === full >>> 0 ? undefined : hex(bits));
  }
  return undefined;
}

/** Are these keys one after the other, from `at`, changing exactly these bits? */
function covers(keys: readonly Key[], header: string, at: number, bits: readonly number[]): boolean {
  return bits.every((wanted, index) => {
    const key = keys[index];
    return (
      key?.header === header &&
      key.offset === at + 4 * index &&
      key.command === 'set' &&
      key.bits === wanted >>> 0
    );
  });
}

const MACS = [
  { name: 'dst', at: 0, bits: [ALL, 0xffff0000], from: 0 },
  { name: 'src', at: 4, bits: [0xffff, ALL], from: 4 },
] as const;
const ADDRESSES = [
  { name: 'src', at: 8 },
  { name: 'dst', at: 24 },
] as const;

/** Fields longer than a word, and how many keys they take. */
function long(keys: readonly Key[]): { args: string[]; used: number } | undefined {
  const text = keys
    .slice(0, 4)
    .map(({ value }) => pad(value, 8))
    .join('');
  for (const { name, at, bits, from } of MACS) {
    if (!covers(keys, 'eth', at, bits)) continue;
    const mac = text.slice(from, from + 12).match(/../g) ?? [];
    return { args: ['munge', 'eth', name, 'set', mac.join(':')], used: 2 };
  }
  for (const { name, at } of ADDRESSES) {
    if (!covers(keys, 'ipv6', at, [ALL, ALL, ALL, ALL])) continue;
    const address = text.match(/.{4}/g) ?? [];
    return { args: ['munge', 'ip6', name, 'set', address.join(':')], used: 4 };
  }
  return undefined;
}

/**
 * Arguments of `pedit` that make the same keys.
 * @param lines the lines `key #…` of one action
 * @returns nothing when one of them is not understood, or is none that tc's words can say.
 */
export function peditArguments(lines: readonly string[]): string[] | undefined {
  const keys: Key[] = [];
  for (const line of lines) {
    const key = keyOf(line);
    if (key === undefined) return undefined;
    keys.push(key);
  }
  const extended = keys.some(({ header, command }) => header !== '' || command === 'add');
  const args: string[] = extended ? ['ex'] : [];
  for (let at = 0; at < keys.length; ) {
    const key = keys[at];
    if (key === undefined) return undefined;
    const several = long(keys.slice(at));
    const raw =
      key.header === ''
        ? words('offset', [String(key.offset), 'u32'], key, hex(key.value), hex(key.bits))
        : undefined;
    const one = several?.args ?? raw ?? named(key);
    if (one === undefined) return undefined;
    args.push(...one);
    at += several?.used ?? 1;
  }
  return args;
}
