/**
 * What nftables binds to an interface's index: rules with `iif` and `oif` (their names are looked up once, when the rule
 * is loaded), elements of sets of interfaces, chains and flowtables that hook a device. `iifname` and iptables go by
 * name, and need nothing. Read from `nft -a list ruleset`, whose text nft takes back. Pure.
 */
import type { Dependent } from '../model.ts';

interface Place {
  /** `inet filter`: family and name of the table. */
  table: string;
  kind: string;
  name: string;
  lines: string[];
}

/** Chains, sets, maps and flowtables of all tables. */
function placesOf(lines: readonly string[]): Place[] {
  const found: Place[] = [];
  let table = '';
  let open: Place | undefined;
  for (const line of lines) {
    const text = line.trim();
    const head = /^table (\S+) (\S+) \{/.exec(text);
    const block = /^(chain|set|map|flowtable) (\S+) \{/.exec(text);
    if (head) table = `${head[1]} ${head[2]}`;
    else if (block && open === undefined)
      open = { table, kind: block[1] ?? '', name: block[2] ?? '', lines: [] };
    else if (text === '}') {
      if (open !== undefined) found.push(open);
      open = undefined;
    } else open?.lines.push(text);
  }
  return found;
}

const withoutHandle = (line: string): string => line.replace(/\s*# handle \d+$/, '');
/** Numbers that run are no part of what somebody wrote. */
const still = (rule: string): string => rule.replaceAll(/counter packets \d+ bytes \d+/g, 'counter');
/** Free text may hold any word. */
const bare = (rule: string): string => rule.replaceAll(/(comment|prefix) "[^"]*"/g, '');

const byIndex = (rule: string, name: string): boolean =>
  /(^|[\s.{(])[io]if(\s|$)/.test(bare(rule)) && bare(rule).includes(`"${name}"`);

/** Is the device among those of `devices = { eth0, eth1 }` or `device "eth0"`? */
function hooks(line: string, name: string): boolean {
  const listed = /devices = \{([^}]*)\}/.exec(line)?.[1]?.split(',') ?? [];
  const single = /\bdevice "([^"]*)"/.exec(line)?.[1];
  return [...listed, single ?? ''].some((one) => one.trim().replaceAll('"', '') === name);
}

function ofChain(place: Place, name: string): Dependent[] {
  const { table, lines } = place;
  const where = `${table} ${place.name}`;
  const [head = '', ...rest] = lines;
  const rules = (/^type /.test(head) ? rest : lines).filter((line) => line !== '');
  if (/^type /.test(head) && hooks(head, name)) {
    const what = `chain ${where}: ${rules.map((rule) => still(withoutHandle(rule))).join('; ')}`;
    const add = rules.map((rule) => `add rule ${where} ${withoutHandle(rule)}`);
    if (/devices = /.test(head) && /devices = \{[^}]*,/.test(head)) {
      return [{ kind: 'firewall', on: name, what }]; // of several devices: the chain stays, without this one
    }
    // flushed, so that it may be there already
    return [
      {
        kind: 'firewall',
        on: name,
        what,
        nft: [`add chain ${where} { ${head} }`, `flush chain ${where}`, ...add].join('\n'),
      },
    ];
  }
  return rules
    .filter((rule) => byIndex(rule, name))
    .map((rule): Dependent => {
      const handle = /# handle (\d+)$/.exec(rule)?.[1];
      const text = withoutHandle(rule);
      return {
        kind: 'firewall',
        on: name,
        what: `rule ${where}: ${still(text)}`,
        ...(handle === undefined ? {} : { nft: `replace rule ${where} handle ${handle} ${text}` }),
      };
    });
}

function ofPlace(place: Place, name: string): Dependent[] {
  const where = `${place.table} ${place.name}`;
  if (place.kind === 'chain') return ofChain(place, name);
  const text = place.lines.join(' ');
  if (place.kind === 'flowtable') {
    if (!hooks(text, name)) return [];
    const hook =
      /hook \S+ priority [^;]*?(?=\s+devices|;|$)/.exec(text)?.[0] ?? 'hook ingress priority filter';
    const nft = `add flowtable ${where} { ${hook}; devices = { "${name}" }; }`;
    return [{ kind: 'firewall', on: name, what: `flowtable ${where}`, nft }];
  }
  // keys that are concatenations, and values of maps, cannot be told from the text of one element
  if (!/\biface_index\b/.test(text) || !/elements = /.test(text) || !text.includes(`"${name}"`)) return [];
  const plain = place.kind === 'set' && /\btype iface_index(\s|$)/.test(text);
  return [
    {
      kind: 'firewall',
      on: name,
      what: `${place.kind} ${where}`,
      ...(plain ? { nft: `add element ${where} { "${name}" }` } : {}),
    },
  ];
}

/** What of the rule set is bound to one of the interfaces. */
export function firewallOf(lines: readonly string[], interfaces: ReadonlySet<string>): Dependent[] {
  const places = placesOf(lines);
  return [...interfaces].flatMap((name) => places.flatMap((place) => ofPlace(place, name)));
}
