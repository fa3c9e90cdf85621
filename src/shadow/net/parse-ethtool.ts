/**
 * `ethtool -k -g -l -c -a`, as text: it has had the same form since long before `--json`, which older guests lack.
 * Pure.
 */
import type { Report, Section } from './capture-text.ts';
import type { DriverState, Feature, Setting } from './model.ts';
import { reportUnknownLines } from './parse-ethtool-lines.ts';
import { queuesOf } from './parse-queues.ts';
import type { Sysfs } from './parse-sysfs.ts';
import { parseTuning } from './parse-tuning.ts';

/** Reads `NAME: on|off [fixed]`. Aggregates (a name with indented ones below) follow from their parts. */
export function parseFeatures(lines: readonly string[]): Feature[] {
  const features: Feature[] = [];
  lines.forEach((line, at) => {
    const match = /^(\t?)([^\s:]+): (on|off)(?: \[([^\]]*)\])?\s*$/.exec(line);
    const [indent, name, value, note] = match?.slice(1) ?? [];
    if (name === undefined) return;
    const isAggregate = indent === '' && /^\t/.test(lines[at + 1] ?? '');
    if (!isAggregate) features.push({ name, on: value === 'on', fixed: note === 'fixed' });
  });
  return features;
}

/** `RX Mini:` is what `ethtool -G` calls `rx-mini`. */
const argumentName = (title: string): string => title.trim().toLowerCase().replace(/\s+/g, '-');

const NONE = new Set(['n/a', '']);

/** Reads `-g` and `-l`: maximums, then what is set now. A setting that can only be 0 is none. */
export function parseLimits(lines: readonly string[]): Setting[] {
  const maximums = new Map<string, string>();
  const current = new Map<string, string>();
  let target = maximums;
  for (const line of lines) {
    if (/^Current hardware settings:/.test(line)) target = current;
    const match = /^([A-Za-z][\w ]*):\s+(\S+)\s*$/.exec(line);
    const [title, value] = match?.slice(1) ?? [];
    if (title !== undefined && value !== undefined && !NONE.has(value))
      target.set(argumentName(title), value);
  }
  const settings: Setting[] = [];
  for (const [name, value] of current) {
    const max = maximums.get(name);
    // The kernel prints `TX Push: off` (and later `RX Push: off`) for drivers without it too, and refuses to be told so,
    // with all that stands beside it.
    if (max === '0' || (/^[rt]x-push$/.test(name) && value === 'off')) continue;
    settings.push({ name, value, ...(max === undefined ? {} : { max }) });
  }
  return settings;
}

/** Reads `-c`: `rx-usecs: 3`, and pairs such as `Adaptive RX: off  TX: off` as `adaptive-rx`, `adaptive-tx`. */
export function parseCoalesce(lines: readonly string[]): Setting[] {
  const settings: Setting[] = [];
  const add = (name: string, value: string) => {
    if (!NONE.has(value)) settings.push({ name, value });
  };
  for (const line of lines) {
    const pair = /^(Adaptive|CQE mode) RX: (\S+)\s+TX: (\S+)\s*$/.exec(line);
    const [title, rx, tx] = pair?.slice(1) ?? [];
    if (title !== undefined && rx !== undefined && tx !== undefined) {
      add(`${argumentName(title)}-rx`, rx);
      add(`${argumentName(title)}-tx`, tx);
      continue;
    }
    const single = /^([a-z][a-z-]*):\s*(\S+)\s*$/.exec(line);
    const [name, value] = single?.slice(1) ?? [];
    if (name !== undefined && value !== undefined) add(name, value);
  }
  return settings;
}

const PAUSE: Record<string, string> = { Autonegotiate: 'autoneg', RX: 'rx', TX: 'tx' };

/** Reads `-a`. What was negotiated is state, not a setting. */
export function parsePause(lines: readonly string[]): Setting[] {
  const settings: Setting[] = [];
  for (const line of lines) {
    const match = /^(Autonegotiate|RX|TX):\s+(on|off)\s*$/.exec(line);
    const [title, value] = match?.slice(1) ?? [];
    const name = PAUSE[title ?? ''];
    if (name !== undefined && value !== undefined) settings.push({ name, value });
  }
  return settings;
}

/** What else the driver's state is read from. */
export interface DriverFacts {
  mtu: { min?: number | undefined; max?: number | undefined };
  sysfs: Sysfs;
  /** The direct device's interface. */
  name: string;
  /** Key for spreading flows that this boot of the kernel gives to every device. */
  defaultKey?: string | undefined;
  /** Size of the guest's table of flows by socket. */
  flowEntries?: string | undefined;
}

/** The driver's state; a part whose section failed (the driver does not support it) is empty. */
export function driverStateOf(
  sections: ReadonlyMap<string, Section>,
  { mtu, sysfs, name, defaultKey, flowEntries }: DriverFacts,
  report: Report,
): DriverState {
  const lines = (option: string): string[] => {
    const section = sections.get(`ethtool-${option}`);
    return section?.code === 0 ? section.lines : [];
  };
  const queues = queuesOf(sysfs, name, report);
  reportUnknownLines(sections, report);
  return {
    features: parseFeatures(lines('k')),
    rings: parseLimits(lines('g')),
    channels: parseLimits(lines('l')),
    coalesce: parseCoalesce(lines('c')),
    pause: parsePause(lines('a')),
    tuning: [
      ...parseTuning(sections, defaultKey, report),
      ...queues.settings,
      ...(flowEntries === undefined || flowEntries === '0'
        ? []
        : [{ name: 'queue.rps_sock_flow_entries', value: flowEntries }]),
    ],
    layout: queues.layout,
    ...(mtu.max === undefined || mtu.max === 0 ? {} : { maxMtu: mtu.max }),
    ...(mtu.min === undefined || mtu.min === 0 ? {} : { minMtu: mtu.min }),
  };
}
