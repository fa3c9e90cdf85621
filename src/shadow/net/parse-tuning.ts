/**
 * Further settings of a driver that ethtool shows: media, Wake-on-LAN, message level, private flags, EEE, FEC, RSS and
 * clock, each under the key of its attribute. Pure.
 */
import type { Report, Section } from './capture-text.ts';
import { knowsModes } from './link-modes.ts';
import type { Setting } from './model.ts';
import { parseNtuple } from './parse-ntuple.ts';
import { parseFlowHash, parseRss } from './parse-rss.ts';

const UNKNOWN = /^(Unknown|Not reported|n\/a)/;

/** The words of a list that goes on in indented lines without a title. */
function modesOf(lines: readonly string[], title: string): string[] {
  const at = lines.findIndex((line) => line.trim().startsWith(`${title}:`));
  if (at < 0) return [];
  const rest = lines.slice(at + 1);
  const end = rest.findIndex((line) => line.includes(':'));
  const text = [lines[at]?.split(':')[1] ?? '', ...rest.slice(0, end < 0 ? rest.length : end)].join(' ');
  return UNKNOWN.test(text.trim()) ? [] : text.trim().split(/\s+/).filter(Boolean);
}

/**
 * Reads `ethtool DEV`. Devices negotiate unless told otherwise: that they do is no setting, that they do not is one, with
 * the speed and duplex that they were told. What is advertised is a setting only where it is less than what is
 * supported. The rest is state.
 */
export function parseMedia(lines: readonly string[], report: Report): Setting[] {
  const settings: Setting[] = [];
  const said = (title: string) => {
    const line = lines.find((one) => one.trim().startsWith(`${title}:`));
    const value = line?.slice(line.indexOf(':') + 1).trim();
    return value === undefined || value === '' || UNKNOWN.test(value) ? undefined : value;
  };
  const add = (name: string, value: string | undefined) => {
    if (value !== undefined) settings.push({ name, value });
  };
  const canNegotiate = said('Supports auto-negotiation') === 'Yes';
  const negotiates = said('Auto-negotiation') === 'on';
  const supported = modesOf(lines, 'Supported link modes');
  if (canNegotiate && !negotiates) add('media.autoneg', 'off');
  if (canNegotiate && negotiates) {
    const advertised = modesOf(lines, 'Advertised link modes');
    if (advertised.length > 0 && advertised.length < supported.length) {
      if (knowsModes(advertised)) add('media.advertise', advertised.toSorted().join(' '));
      else report('ethtool-settings', `advertised: ${advertised.join(' ')}`);
    }
  } else if (canNegotiate || supported.length === 0) {
    // a device that has one speed only says it, and nobody chose it
    add('media.speed', /^(\d+)Mb\/s$/.exec(said('Speed') ?? '')?.[1]);
    add('media.duplex', said('Duplex')?.toLowerCase());
  }
  const crossing = /^\w+ \((forced)\)$/.test(said('MDI-X') ?? '');
  if (crossing) add('media.mdix', said('MDI-X')?.split(' ')[0]?.toLowerCase());
  if (said('Supports Wake-on') !== undefined && said('Supports Wake-on') !== 'd') {
    add('wake.on', said('Wake-on'));
  }
  add('message.level', /^(0x[0-9a-f]+)/.exec(said('Current message level') ?? '')?.[1]);
  return settings;
}

/** Reads `--show-priv-flags`: names are the driver's own. */
export function parsePrivateFlags(lines: readonly string[]): Setting[] {
  return lines.flatMap((line) => {
    const [name, value] = /^(\S.*?)\s*: (on|off)\s*$/.exec(line)?.slice(1) ?? [];
    return name === undefined || value === undefined ? [] : [{ name: `private-flag.${name}`, value }];
  });
}

/** Reads `--show-eee`. */
export function parseEee(lines: readonly string[]): Setting[] {
  const text = lines.join('\n');
  const status = /EEE status: (not supported|disabled|enabled)/.exec(text)?.[1];
  if (status === undefined || status === 'not supported') return [];
  const lpi = /Tx LPI: (disabled|(\d+) \(us\))/.exec(text);
  const timer = lpi?.[2];
  return [
    { name: 'eee.eee', value: status === 'enabled' ? 'on' : 'off' },
    ...(lpi === null ? [] : [{ name: 'eee.tx-lpi', value: timer === undefined ? 'off' : 'on' }]),
    ...(timer === undefined ? [] : [{ name: 'eee.tx-timer', value: timer }]),
  ];
}

/** Reads `--show-fec`; what is active is state. */
export function parseFec(lines: readonly string[]): Setting[] {
  const configured = lines.map((line) => /^Configured FEC encodings:\s*(.*)$/.exec(line)?.[1]).find(Boolean);
  if (configured === undefined || UNKNOWN.test(configured) || configured === 'None') return [];
  return [{ name: 'fec.encoding', value: configured.trim().toLowerCase().split(/\s+/).toSorted().join(' ') }];
}

/** Reads `-T`: which clock and which kinds of time stamps there are. They can only be reported. */
export function parseClock(lines: readonly string[]): Setting[] {
  const clock = lines
    .map((line) => /^(?:PTP Hardware Clock|Hardware timestamp provider index): (\d+)/.exec(line)?.[1])
    .find((index) => index !== undefined);
  const kinds = lines
    .filter((line) => /^\thardware-(transmit|receive)/.test(line))
    .map((line) => line.trim());
  return [
    ...(clock === undefined ? [] : [{ name: 'clock.index', value: clock }]),
    ...(kinds.length === 0 ? [] : [{ name: 'clock.stamps', value: kinds.toSorted().join(' ') }]),
  ];
}

/** All of it; a part whose section failed (the driver does not support it) is empty. */
export function parseTuning(
  sections: ReadonlyMap<string, Section>,
  defaultKey: string | undefined,
  report: Report,
): Setting[] {
  const lines = (name: string): string[] => {
    const section = sections.get(`ethtool-${name}`);
    return section?.code === 0 ? section.lines : [];
  };
  const flows = [...sections.keys()].flatMap((name) => {
    const type = /^ethtool-flow-hash-(\w+)$/.exec(name)?.[1];
    const fields = type === undefined ? undefined : parseFlowHash(lines(`flow-hash-${type}`));
    return fields === undefined ? [] : [{ name: `flow-hash.${type}`, value: fields }];
  });
  return [
    ...parseMedia(lines('settings'), report),
    ...parsePrivateFlags(lines('priv-flags')),
    ...parseEee(lines('eee')),
    ...parseFec(lines('fec')),
    ...parseRss(lines('x'), defaultKey),
    ...flows,
    ...parseNtuple(lines('u'), report),
    ...parseClock(lines('T')),
  ];
}
