/** `ethtool -u`: the rules by which a device sends flows to a queue, as the words that `-U` takes. Pure. */
import type { Report } from './capture-text.ts';
import type { Setting } from './model.ts';

const FLOWS: Readonly<Record<string, string>> = {
  'TCP over IPv4': 'tcp4',
  'UDP over IPv4': 'udp4',
  'SCTP over IPv4': 'sctp4',
  'IPSEC AH over IPv4': 'ah4',
  'IPSEC ESP over IPv4': 'esp4',
  'Raw IPv4': 'ip4',
  'TCP over IPv6': 'tcp6',
  'UDP over IPv6': 'udp6',
  'SCTP over IPv6': 'sctp6',
  'IPSEC AH over IPv6': 'ah6',
  'IPSEC ESP over IPv6': 'esp6',
  'Raw IPv6': 'ip6',
  'Raw Ethernet': 'ether',
};

/** What ethtool prints of a rule, and the word by which it takes it. */
const FIELDS: Readonly<Record<string, string>> = {
  'Src IP addr': 'src-ip',
  'Dest IP addr': 'dst-ip',
  TOS: 'tos',
  'Traffic Class': 'tclass',
  'Src port': 'src-port',
  'Dest port': 'dst-port',
  SPI: 'spi',
  Protocol: 'l4proto',
  'L4 bytes': 'l4data',
  'Src MAC addr': 'src',
  'Dest MAC addr': 'dst',
  Ethertype: 'proto',
  'VLAN EtherType': 'vlan-etype',
  VLAN: 'vlan',
  'User-defined': 'user-def',
};

/** A mask that lets everything pass: ethtool prints (and takes) the bits that do not count. */
const ANY = /^(255(\.255){3}|(f{1,4}:){7}f{1,4}|(FF:){5}FF|0x(ff|ffff|ffffffff|ffffffffffffffff))$/i;
const EXACT = /^(0(\.0){3}|::|0x0|(00:){5}00)$/;

function wordsOf(line: string, flow: string): string[] | undefined {
  const [title, value, mask] = /^\t([^:]+): (\S+) mask: (\S+)$/.exec(line)?.slice(1) ?? [];
  if (title === undefined || value === undefined || mask === undefined) return undefined;
  // rules of IP flows may name the destination's MAC too, by another word
  const field = title === 'Dest MAC addr' && flow !== 'ether' ? 'dst-mac' : FIELDS[title];
  if (field === undefined) return undefined;
  if (ANY.test(mask)) return [];
  return [field, value.toLowerCase(), ...(EXACT.test(mask) ? [] : ['m', mask.toLowerCase()])];
}

function actionOf(line: string): string[] | undefined {
  const queue = /^\tAction: Direct to queue (\d+)$/.exec(line)?.[1];
  if (queue !== undefined) return ['action', queue];
  if (line === '\tAction: Drop') return ['action', '-1'];
  if (line === '\tAction: Wake-on-LAN') return ['action', '-2'];
  return undefined;
}

function ruleOf(lines: readonly string[]): string | undefined {
  const [first = '', ...rest] = lines;
  const type = /^\t(?:Rule|Flow) Type: (.*)$/.exec(first)?.[1] ?? '';
  const flow = FLOWS[type];
  if (flow === undefined) return undefined;
  const words = rest.map((line) => actionOf(line) ?? wordsOf(line, flow));
  if (!rest.some((line) => line.startsWith('\tAction:'))) return undefined;
  return words.every((each) => each !== undefined)
    ? ['flow-type', flow, ...words.flat()].join(' ')
    : undefined;
}

/** Reads the rules by their place in the table; one of a form that cannot be given back is reported. */
export function parseNtuple(lines: readonly string[], report: Report): Setting[] {
  const settings: Setting[] = [];
  for (const [at, line] of lines.entries()) {
    const location = /^Filter: (\d+)$/.exec(line)?.[1];
    if (location === undefined) continue;
    const rest = lines.slice(at + 1);
    const end = rest.findIndex((one) => one === '' || one.startsWith('Filter:'));
    const own = end < 0 ? rest : rest.slice(0, end);
    const rule = ruleOf(own);
    if (rule === undefined) report('ethtool-u', [line, ...own].join('\n'));
    else settings.push({ name: `ntuple.${location}`, value: rule });
  }
  return settings;
}
