/** Settings of the direct device's driver, held against what the destination's device can do. */
import { tuningFate } from './fate-tuning.ts';
import { channelKey, coalesceKey, featureKey, pauseKey, ringKey } from './keys.ts';
import type { DeviceAbilities, DriverState, Feature, Setting } from './model.ts';
import { type Draft, deviceWord, draft, type Findings } from './plan-draft.ts';
import type { Stage } from './plan-model.ts';
import { tuningDrafts } from './plan-tuning.ts';

/**
 * Names that `ethtool -k` prints and `ethtool -K` does not take, with those it takes. The sums of several features
 * (null) follow from their parts.
 */
const SHORT_NAMES: Readonly<Record<string, string | null>> = {
  'rx-checksumming': 'rx',
  'tx-checksumming': null,
  'scatter-gather': null,
  'tcp-segmentation-offload': null,
  'generic-segmentation-offload': 'gso',
  'generic-receive-offload': 'gro',
  'large-receive-offload': 'lro',
  'udp-fragmentation-offload': null,
  'rx-vlan-offload': 'rxvlan',
  'tx-vlan-offload': 'txvlan',
  'ntuple-filters': 'ntuple',
  'receive-hashing': 'rxhash',
};

const onOff = (on: boolean): string => (on ? 'on' : 'off');

interface Pairs {
  words: string[];
  keys: string[];
}

/** One feature: what to ask for, or why there is nothing to ask. */
function planFeature(feature: Feature, options: DriverOptions, pairs: Pairs, found: Findings) {
  const { abilities, untouched } = options;
  if (feature.fixed) return; // the device's nature, nobody's choice
  const short = SHORT_NAMES[feature.name];
  const there = abilities?.features.find((f) => f.name === feature.name);
  if (there?.fixed && there.on !== feature.on) {
    if (untouched.has(featureKey(feature.name))) return;
    found.losses.push({
      key: featureKey(feature.name),
      value: onOff(feature.on),
      why: `${deviceWord(abilities)} has it fixed ${onOff(there.on)}`,
    });
    return;
  }
  if (short === null) return; // follows from its parts
  if (there?.fixed) return;
  pairs.words.push(short ?? feature.name, onOff(feature.on));
  pairs.keys.push(featureKey(feature.name));
}

function featureDrafts(
  features: readonly Feature[],
  dev: string,
  options: DriverOptions,
  found: Findings,
): Draft[] {
  const pairs: Pairs = { words: [], keys: [] };
  for (const feature of features) planFeature(feature, options, pairs, found);
  return pairs.words.length === 0
    ? []
    : [draft('prepare', 'ethtool', ['-K', dev, ...pairs.words], pairs.keys)];
}

interface Group {
  option: string;
  stage: Stage;
  settings: readonly Setting[];
  /** What the destination's device has, where that is known. */
  there: readonly Setting[] | undefined;
  key: (name: string) => string;
  what: string;
}

const asNumber = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;

/** A driver that shows a setting which does not exist on it prints no value, or 0 of 0. */
const isReal = (setting: Setting): boolean =>
  /^(\d+|on|off)$/.test(setting.value) && !(setting.value === '0' && setting.max === '0');

/** One group of numeric settings becomes one call: what fits, the nearest of what does not, and losses. */
function groupDrafts(group: Group, dev: string, options: DriverOptions, found: Findings): Draft[] {
  const { abilities } = options;
  const pairs: Pairs = { words: [], keys: [] };
  for (const setting of group.settings) {
    if (!isReal(setting)) continue;
    const { name, value } = setting;
    const key = group.key(name);
    if (options.untouched.has(key)) continue; // the new device's driver has its own
    const there = group.there?.find((s) => s.name === name);
    if (group.there !== undefined && (there === undefined || !isReal(there))) {
      if (value === '0') continue; // asked for nothing, has nothing
      found.losses.push({ key, value, why: `${deviceWord(abilities)} has no ${group.what} "${name}"` });
      continue;
    }
    const max = asNumber(there?.max);
    const number = asNumber(value);
    let now = value;
    if (max !== undefined && number !== undefined && number > max) {
      now = String(max);
      found.adaptations.push({ key, value, now, how: `${deviceWord(abilities)} takes at most ${now}` });
    }
    // how many queues there are is also the host's choice, so that the guest must see for itself what this one takes
    pairs.words.push(name, group.option === '-L' ? value : now);
    pairs.keys.push(key);
  }
  return pairs.words.length === 0
    ? []
    : [draft(group.stage, 'ethtool', [group.option, dev, ...pairs.words], pairs.keys)];
}

export interface DriverOptions {
  /** What the destination's device can do, where one like it was seen before. */
  abilities: DeviceAbilities | undefined;
  /** Keys of what nobody chose: what the source's driver begins with. */
  untouched: ReadonlySet<string>;
  /** Where the new device will be in the guest. */
  pciPath: string | undefined;
}

/** Losses and adaptations of further settings that follow from what the destination's device is known to have. */
function foresee(tuning: readonly Setting[], { abilities }: DriverOptions, found: Findings): void {
  if (abilities?.tuning === undefined) return;
  const there = { device: abilities.driver, tuning: abilities.tuning, layout: abilities.layout };
  for (const setting of tuning) {
    const fate = tuningFate(setting, there);
    const { name: key, value } = setting;
    if (fate?.fate === 'adapted') found.adaptations.push({ key, value, now: fate.now, how: fate.how });
    if (fate?.fate === 'lost') found.losses.push({ key, value, why: fate.why });
  }
}

/**
 * Driver settings as few calls of ethtool. Those that reset the link of some drivers are made while the
 * device is down: a link that comes up twice takes seconds.
 * Abilities say what is fixed and what the largest values are. The values they hold are those of the device they were
 * learned from, which somebody may have configured: they say nothing about a fresh one.
 */
export function driverDrafts(
  driver: DriverState,
  dev: string,
  options: DriverOptions,
  found: Findings,
): Draft[] {
  const { abilities, untouched } = options;
  const tuning = (driver.tuning ?? []).filter(({ name }) => !untouched.has(name));
  foresee(tuning, options, found);
  const groups: Group[] = [
    {
      option: '-G',
      stage: 'prepare',
      settings: driver.rings,
      there: abilities?.rings,
      key: ringKey,
      what: 'ring',
    },
    {
      option: '-L',
      stage: 'prepare',
      settings: driver.channels.filter((c) => c.name !== 'other'),
      there: abilities?.channels,
      key: channelKey,
      what: 'channel',
    },
    {
      option: '-C',
      stage: 'rest', // the link does not mind, and traffic need not wait
      settings: driver.coalesce,
      there: abilities?.coalesce,
      key: coalesceKey,
      what: 'coalescing parameter',
    },
    {
      option: '-A',
      stage: 'prepare',
      settings: driver.pause,
      there: abilities?.pause,
      key: pauseKey,
      what: 'pause parameter',
    },
  ];
  return [
    ...groups.flatMap((group) => groupDrafts(group, dev, options, found)),
    ...featureDrafts(driver.features, dev, options, found),
    ...tuningDrafts(tuning, dev, options.pciPath),
  ];
}

/** The MTU that the destination's device can have: the wanted one, or the nearest, which is reported. */
export function fittingMtu(
  wanted: number,
  key: string,
  abilities: DeviceAbilities | undefined,
  found: Findings,
): number {
  const max = abilities?.maxMtu;
  if (max === undefined || wanted <= max) return wanted;
  found.adaptations.push({
    key,
    value: String(wanted),
    now: String(max),
    how: `${deviceWord(abilities)} takes at most ${max}`,
  });
  return max;
}
