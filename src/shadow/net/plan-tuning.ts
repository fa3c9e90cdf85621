/**
 * Operations for what is set on a driver besides its offloads and sizes: media, flags, RSS, queues, interrupts. What
 * depends on how many queues the new device has is decided in the guest, by `tuning.sh`.
 */
import { advertiseMask } from './link-modes.ts';
import type { DriverState, Setting } from './model.ts';
import { type Draft, draft, write } from './plan-draft.ts';
import { maskBits } from './queue-model.ts';

/** Settings of one kind: `media.speed` is `speed` of `media`. */
function ofKind(tuning: readonly Setting[], kind: string): Setting[] {
  return tuning.flatMap(({ name, value }) =>
    name.startsWith(`${kind}.`) ? [{ name: name.slice(kind.length + 1), value }] : [],
  );
}

const keysOf = (kind: string, settings: readonly Setting[]): string[] =>
  settings.map(({ name }) => `${kind}.${name}`);

function mediaDrafts(tuning: readonly Setting[], dev: string): Draft[] {
  const media = ofKind(tuning, 'media');
  if (media.length === 0) return [];
  const words = media.flatMap(({ name, value }) =>
    name === 'advertise' ? [name, advertiseMask(value.split(' '))] : [name, value],
  );
  return [draft('prepare', 'ethtool', ['-s', dev, ...words], keysOf('media', media))];
}

/** Settings of one kind that one call takes as pairs of words. */
function pairDrafts(
  tuning: readonly Setting[],
  dev: string,
  kind: string,
  how: { option: string; stage: 'prepare' | 'rest'; word?: (name: string) => string },
): Draft[] {
  const settings = ofKind(tuning, kind);
  const words = settings.flatMap(({ name, value }) => [how.word?.(name) ?? name, ...value.split(' ')]);
  return settings.length === 0
    ? []
    : [draft(how.stage, 'ethtool', [how.option, dev, ...words], keysOf(kind, settings))];
}

function rssDrafts(tuning: readonly Setting[], dev: string): Draft[] {
  const valueAt = (name: string) => tuning.find((setting) => setting.name === name)?.value;
  const [spread, key, hash] = [valueAt('rss.spread'), valueAt('rss.key'), valueAt('rss.function')];
  return [
    // every device begins with both
    ...(hash === undefined || hash === 'toeplitz'
      ? []
      : [draft('rest', 'ethtool', ['-X', dev, 'hfunc', hash], ['rss.function'])]),
    ...(key === undefined || key === 'default'
      ? []
      : [draft('rest', 'tune', ['key', dev, key], ['rss.key'])]),
    ...(spread === undefined
      ? []
      : [draft('rest', 'tune', ['spread', dev, ...spread.split(' ')], ['rss.spread'])]),
    ...ofKind(tuning, 'flow-hash').map(({ name, value }) =>
      draft('rest', 'ethtool', ['-N', dev, 'rx-flow-hash', name, value], [`flow-hash.${name}`]),
    ),
    ...ofKind(tuning, 'ntuple').map(({ name, value }) =>
      draft('rest', 'tune', ['rule', dev, ...value.split(' '), 'loc', name], [`ntuple.${name}`]),
    ),
  ];
}

/** A mask as groups of 32 bits, as many as `digits` hexadecimal digits need: all masks of one call are equally long. */
function grouped(mask: string, digits: number): string {
  const groups = Math.max(1, Math.ceil(digits / 8));
  const padded = maskBits(mask)
    .toString(16)
    .padStart(groups * 8, '0');
  return padded.match(/.{8}/g)?.join(',') ?? padded;
}

const isMask = (knob: string): boolean => /_(cpus|rxqs)$/.test(knob);

/** What to do with the values of queues that must share one: unite processors, add up flows, else take the largest. */
const foldOf = (knob: string): string =>
  isMask(knob) ? 'unite' : knob === 'rps_flow_cnt' ? 'add' : 'largest';

/** Values in the order of their queues, `-` where none is set. */
function inOrder(values: ReadonlyMap<number, string>, isMask: boolean): string[] {
  const digits = Math.max(...[...values.values()].map((value) => value.length));
  return Array.from({ length: Math.max(...values.keys()) + 1 }, (_, at) => {
    const value = values.get(at);
    return value === undefined ? '-' : isMask ? grouped(value, digits) : value;
  });
}

function queueDrafts(tuning: readonly Setting[], dev: string): Draft[] {
  const groups = new Map<string, { direction: string; knob: string; values: Map<number, string> }>();
  for (const { name, value } of ofKind(tuning, 'queue')) {
    const [, direction, queue, knob] = /^(rx|tx)-(\d+)\.(\w+)$/.exec(name) ?? [];
    if (direction === undefined || knob === undefined) continue; // of the whole guest: nothing takes it away
    const group = groups.get(`${direction} ${knob}`) ?? {
      direction,
      knob,
      values: new Map<number, string>(),
    };
    group.values.set(Number(queue), value);
    groups.set(`${direction} ${knob}`, group);
  }
  return [...groups.values()].map(({ direction, knob, values }) => {
    const file = knob.replace(/^bql_/, 'byte_queue_limits/');
    const keys = [...values.keys()].map((queue) => `queue.${direction}-${queue}.${knob}`);
    const words = ['queue', dev, direction, file, foldOf(knob), ...inOrder(values, isMask(knob))];
    return draft('rest', 'tune', words, keys);
  });
}

/** Where interrupts go, by the direction whose queues they serve: the new device may have one vector for both. */
function vectorDrafts(tuning: readonly Setting[], dev: string, pciPath: string | undefined): Draft[] {
  const settings = ofKind(tuning, 'irq');
  if (settings.length === 0 || pciPath === undefined) return [];
  const lists: Record<'rx' | 'tx' | 'other', Map<number, string>> = {
    rx: new Map(),
    tx: new Map(),
    other: new Map(),
  };
  for (const { name, value } of settings) {
    const [, role, number] = /^(all|both|rx|tx|other)-(\d+)$/.exec(name) ?? [];
    const at = Number(number);
    if (role === 'rx' || role === 'tx' || role === 'other') lists[role].set(at, value);
    if (role === 'both' || role === 'all') {
      lists.rx.set(at, value);
      lists.tx.set(at, value);
    }
    if (role === 'all') lists.other.set(at, value);
  }
  const digits = Math.max(...settings.map(({ value }) => value.length));
  const words = (['rx', 'tx', 'other'] as const).flatMap((role) => {
    const list = lists[role];
    if (list.size === 0) return [];
    const masks = inOrder(list, true).map((mask) => (mask === '-' ? mask : grouped(mask, digits)));
    return [role, ...masks];
  });
  return [draft('rest', 'tune', ['vectors', dev, pciPath, ...words], keysOf('irq', settings))];
}

/** All of it. `settings` are those that are to be set: what nobody chose is left to the new device's driver. */
export function tuningDrafts(
  settings: NonNullable<DriverState['tuning']>,
  dev: string,
  pciPath: string | undefined,
): Draft[] {
  return [
    ...mediaDrafts(settings, dev),
    ...pairDrafts(settings, dev, 'private-flag', { option: '--set-priv-flags', stage: 'prepare' }),
    ...pairDrafts(settings, dev, 'eee', { option: '--set-eee', stage: 'prepare' }),
    ...pairDrafts(settings, dev, 'fec', { option: '--set-fec', stage: 'prepare' }),
    ...pairDrafts(settings, dev, 'wake', { option: '-s', stage: 'rest', word: () => 'wol' }),
    ...pairDrafts(settings, dev, 'message', { option: '-s', stage: 'rest', word: () => 'msglvl' }),
    ...rssDrafts(settings, dev),
    ...ofKind(settings, 'napi').map(({ name, value }) =>
      write('rest', `/sys/class/net/${dev}/${name}`, value, [`napi.${name}`]),
    ),
    ...queueDrafts(settings, dev),
    ...vectorDrafts(settings, dev, pciPath),
  ];
}
