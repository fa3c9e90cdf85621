/** What becomes of a driver's further settings on another device: known from what that device has. Pure. */
import type { DriverState, Setting } from './model.ts';
import { maskHolds, type QueueLayout } from './queue-model.ts';

/** The fate of one setting, without its key and value. */
export type TuningFate = { fate: 'adapted'; now: string; how: string } | { fate: 'lost'; why: string };

/** What a device has: its settings (for which of them exist) and its queues. */
export interface TuningThere {
  /** How messages call it. */
  device: string;
  tuning: readonly Setting[];
  layout: QueueLayout | undefined;
}

export const NOTHING = 'none';

const lost = (why: string): TuningFate => ({ fate: 'lost', why });
const adapted = (now: string, how: string): TuningFate => ({ fate: 'adapted', now, how });

/** Kinds of settings that a device has or has not, as a whole. */
const WHOLE: Readonly<Record<string, string>> = {
  wake: 'Wake-on-LAN',
  message: 'message level',
  eee: 'Energy-Efficient Ethernet',
  fec: 'forward error correction',
  clock: 'clock for time stamps',
};

/** Values that ask for nothing: where the thing itself is missing, nothing is missed. */
const isNothing = ({ name, value }: Setting): boolean =>
  value === 'off' || (name === 'wake.on' && value === 'd') || (name === 'rss.key' && value === 'default');

const plural = (count: number, what: string): string => `${count} ${what} queue${count === 1 ? '' : 's'}`;

/** Where the vectors of the new device have what a vector of the old one had. */
export function vectorFor(name: string, layout: QueueLayout): string | undefined {
  const [, role = '', number] = /^irq\.(\w+)-(\d+)$/.exec(name) ?? [];
  const roles =
    role === 'other' ? ['other', 'all'] : role === 'rx' || role === 'tx' ? [role, 'both', 'all'] : [];
  for (const candidate of [role, ...roles, 'both', 'rx', 'all']) {
    const count = layout.vectors.filter((vector) => vector.startsWith(`${candidate}-`)).length;
    if (count > 0) return `${candidate}-${Number(number) % count}`;
    if (role === 'other' && candidate === 'all') return undefined; // not where the queues' interrupts go
  }
  return undefined;
}

function queueFate(setting: Setting, there: TuningThere): TuningFate | undefined {
  const [, direction, number, knob] = /^queue\.(rx|tx)-(\d+)\.(\w+)$/.exec(setting.name) ?? [];
  if ((direction !== 'rx' && direction !== 'tx') || there.layout === undefined) return undefined;
  const count = there.layout[direction];
  const what = direction === 'rx' ? 'receive' : 'transmit';
  if (knob === 'xps_cpus' && count === 1) {
    return adapted(NOTHING, `${there.device} has one transmit queue, so there is none to choose`);
  }
  if (count === 0 || Number(number) < count) return undefined;
  const into = Number(number) % count;
  const taken = there.tuning.find(({ name }) => name === `queue.${direction}-${into}.${knob}`)?.value;
  return adapted(
    taken ?? setting.value,
    `${there.device} has ${plural(count, what)}: it is part of ${direction}-${into} now`,
  );
}

function vectorFate(setting: Setting, there: TuningThere): TuningFate | undefined {
  if (there.layout === undefined || there.layout.vectors.length === 0) return undefined;
  const vector = vectorFor(setting.name, there.layout);
  if (vector === undefined) return lost(`${there.device} has no such interrupt`);
  if (setting.name === `irq.${vector}`) return undefined;
  const mask = there.tuning.find(({ name }) => name === `irq.${vector}`)?.value ?? there.layout.allCpus;
  return adapted(mask ?? setting.value, `${there.device} has interrupt ${vector} for it`);
}

function rssFate(setting: Setting, there: TuningThere): TuningFate | undefined {
  if (there.layout?.rx === 1) {
    return adapted(NOTHING, `${there.device} has one receive queue, which everything goes to`);
  }
  if (setting.name === 'rss.spread') return lost(`${there.device} cannot be told how to spread flows`);
  if (setting.name === 'rss.key') return lost(`${there.device} cannot be told a key to spread flows by`);
  if (setting.name === 'rss.function') return lost(`${there.device} cannot be told a hash function`);
  return lost(`${there.device} cannot be told which fields to spread flows by`);
}

/** The fate that follows from what the device has not; undefined where it can have the setting as it is. */
export function tuningFate(setting: Setting, there: TuningThere): TuningFate | undefined {
  const [kind = ''] = setting.name.split('.');
  const has = (name: string) => there.tuning.some((other) => other.name === name);
  const missing = (what: string) =>
    isNothing(setting)
      ? adapted(NOTHING, `${there.device} has no ${what}, and none was asked for`)
      : lost(`${there.device} has no ${what}`);
  if (kind === 'queue') return queueFate(setting, there);
  if (kind === 'irq') return vectorFate(setting, there);
  if (has(setting.name)) return undefined;
  if (kind === 'rss' || kind === 'flow-hash') {
    return isNothing(setting) ? missing('key of its own') : rssFate(setting, there);
  }
  if (kind === 'private-flag') {
    return missing(`private flag "${setting.name.slice('private-flag.'.length)}"`);
  }
  const whole = WHOLE[kind];
  return whole === undefined ? undefined : missing(whole);
}

/** The fate of a setting that the new device shows with another value, where its operation went well. */
export function changedFate(
  setting: Setting,
  found: string,
  before: DriverState | undefined,
  there: TuningThere,
): TuningFate | undefined {
  const { device, layout } = there;
  const [kind] = setting.name.split('.');
  if (setting.name === 'clock.index') return adapted(found, `its clock is /dev/ptp${found} now`);
  if (setting.name === 'clock.stamps') return adapted(found, `${device} makes these time stamps`);
  if (setting.name === 'rss.spread' && layout !== undefined) {
    if (setting.value.startsWith('counts '))
      return adapted(found, 'the same shares, in the order that ethtool makes');
    if (before?.layout?.rx !== layout.rx)
      return adapted(found, `${device} has ${plural(layout.rx, 'receive')}: the same shares`);
  }
  if (setting.name === 'rss.key') return adapted(found, `${device} has a key of another length`);
  const [, direction] = /^queue\.(rx|tx)-/.exec(setting.name) ?? [];
  if (direction === 'rx' || direction === 'tx') {
    const [was, is] = [before?.layout?.[direction], layout?.[direction]];
    if (was !== undefined && is !== undefined && was > is)
      return adapted(found, `${device} has ${is} of ${was} queues: it serves more than one`);
  }
  if (kind === 'irq' && maskHolds(found, setting.value))
    return adapted(found, `the interrupt serves more queues on ${device}`);
  if (kind === 'ntuple') return adapted(found, `${device} has other queues`);
  return undefined;
}
