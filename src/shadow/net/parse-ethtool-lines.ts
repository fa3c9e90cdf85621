/**
 * The lines that ethtool is known to print, so that those of a later release are told: whoever reads a section picks
 * what it knows, and would pass over a new one in silence. Pure.
 */
import type { Report, Section } from './capture-text.ts';

const TITLES = [
  'Supported ports',
  'Supported link modes',
  'Supported pause frame use',
  'Supports auto-negotiation',
  'Supported FEC modes',
  'Advertised link modes',
  'Advertised pause frame use',
  'Advertised auto-negotiation',
  'Advertised FEC modes',
  'Link partner advertised link modes',
  'Link partner advertised pause frame use',
  'Link partner advertised auto-negotiation',
  'Link partner advertised FEC modes',
  'Speed',
  'Duplex',
  'Auto-negotiation',
  'Port',
  'PHYAD',
  'Transceiver',
  'MDI-X',
  'Supports Wake-on',
  'Wake-on',
  'SecureOn password',
  'Current message level',
  'Link detected',
].join('|');

/** What drivers may write messages about. */
const MESSAGES =
  'drv|probe|link|timer|ifdown|ifup|rx_err|tx_err|tx_queued|intr|tx_done|rx_status|pktdata|hw|wol';

/** By section; a line is known when one of its patterns takes it. Names of interfaces may hold anything. */
const KNOWN: Readonly<Record<string, readonly RegExp[]>> = {
  k: [/^Features for .*:$/, /^\t?[^\s:]+: (on|off)( \[[^\]]*\])?\s*$/],
  g: [
    /^Ring parameters for .*:$/,
    /^(Pre-set maximums|Current hardware settings):$/,
    /^[A-Za-z][\w ]*:\s+\S+\s*$/,
  ],
  l: [
    /^Channel parameters for .*:$/,
    /^(Pre-set maximums|Current hardware settings):$/,
    /^[A-Za-z][\w ]*:\s+\S+\s*$/,
  ],
  c: [
    /^Coalesce parameters for .*:$/,
    /^(Adaptive|CQE mode) RX: \S+\s+TX: \S+\s*$/,
    /^[a-z][a-z-]*:\s*\S+\s*$/,
  ],
  a: [/^Pause parameters for .*:$/, /^(Autonegotiate|RX|TX|RX negotiated|TX negotiated):\s+(on|off)\s*$/],
  settings: [
    /^Settings for .*:$/,
    new RegExp(`^\\s+(${TITLES}):( .*)?$`),
    // lists of link modes go on in further lines, with a blank at their end; so do the kinds of messages
    /^\s+[0-9]+base\S+( [0-9]+base\S+)* *$/,
    new RegExp(`^\\s+((${MESSAGES}) ?)+$`),
  ],
  'priv-flags': [/^Private flags for .*:$/, /^\S.*?\s*: (on|off)\s*$/],
  eee: [
    /^EEE settings for .*:$/,
    /^\t(EEE status|Tx LPI|(Supported|Advertised|Link partner advertised) EEE link modes):/,
    /^\s+[0-9]+base\S+\s*$/,
  ],
  fec: [/^FEC parameters for .*:$/, /^(Supported\/Configured|Supported|Configured|Active) FEC encodings?:/],
  x: [
    /^RX flow hash indirection table for .*:$/,
    /^\s*\d+:(\s+\d+)+\s*$/,
    /^RSS (hash key|hash function|input transformation):$/,
    /^([0-9a-f]{2}:)+[0-9a-f]{2}$/,
    /^Operation not supported$/,
    /^ {4}\S+: (on|off)$/,
  ],
  'flow-hash': [
    /^.* flows use these fields for computing Hash flow key:$/,
    /^(None|L2DA|VLAN tag|L3 proto|IP SA|IP DA|L4 bytes .*|GTP .*|.* discarded on RX|.* flow-type)$/,
  ],
  // rules that are not understood are told by who reads them
  u: [/^\d+ RX rings available$/, /^Total \d+ rules$/, /^Filter: \d+$/, /^\t[A-Z][^:]*: /],
  T: [
    /^Time stamping parameters for .*:$/,
    /^Capabilities:$/,
    /^\t(hardware|software)-\S+$/,
    /^PTP Hardware Clock: \S+$/,
    /^Hardware timestamp provider (index|qualifier): .+$/,
    /^Hardware (Transmit Timestamp|Receive Filter) Modes:( none)?$/,
    /^\t[a-z0-9-]+( +\(\w+\))?$/,
  ],
};

/** What is set by a word after it, of which only one value is nobody's choice. */
const OFF: Readonly<Record<string, RegExp>> = { x: /^ {4}symmetric\S*: on$/ };

/** Reports each line of the sections of ethtool that no release known here prints. */
export function reportUnknownLines(sections: ReadonlyMap<string, Section>, report: Report): void {
  for (const { name, code, lines } of sections.values()) {
    const option = /^ethtool-(flow-hash|.+)/.exec(name)?.[1];
    if (option === undefined || code !== 0) continue;
    const known = KNOWN[option] ?? [];
    for (const line of lines) {
      const isKnown = known.some((pattern) => pattern.test(line)) && OFF[option]?.test(line) !== true;
      if (line.trim() !== '' && !isKnown) report(name, line.trim());
    }
  }
}
