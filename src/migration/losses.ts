/** What is lost or changed on the way, judged before anything moves. Pure. */
import { ShadowferryError } from '../errors.ts';
import type { ReplayPlan } from '../shadow/net/plan-model.ts';
import { type Knowledge, unknownText } from './knowledge.ts';

/** Attributes that packets need: without them some traffic stops, whatever is tuned. */
const TRAFFIC = /^((link|lower)\.mtu|address\.|route\.|rule\.|neighbour\.)/;

/** Most that an error or a warning names. */
const MOST_NAMED = 12;

const NOBODY_CHOSE = /^nobody chose it:/;

function named(texts: readonly string[]): string {
  const more = texts.length - MOST_NAMED;
  return [...texts.slice(0, MOST_NAMED), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

/** What the plan foresees that somebody chose and will not get. */
export function foreseenLosses({ losses, adaptations }: ReplayPlan): string[] {
  return [
    ...losses.map(({ key, value, why }) => `${key} ${value}: ${why}`),
    ...adaptations
      .filter(({ how }) => !NOBODY_CHOSE.test(how))
      .map(({ key, value, now, how }) => `${key} ${value} becomes ${now}: ${how}`),
  ];
}

/** What a user must hear before it happens: of these, traffic depends on it. */
export function trafficWarnings({ losses, adaptations }: ReplayPlan): string[] {
  const chosen = adaptations.filter(({ key, how }) => TRAFFIC.test(key) && !NOBODY_CHOSE.test(how));
  return [
    ...chosen.map(({ key, value, now, how }) => {
      const unheard = key.endsWith('.mtu') ? ': peers that send more than fits are not heard' : '';
      return `${key} ${value} becomes ${now} (${how})${unheard}`;
    }),
    ...losses.filter(({ key }) => TRAFFIC.test(key)).map(({ key, why }) => `${key} is lost: ${why}`),
  ];
}

/**
 * With `--on-loss refuse`: nothing that somebody chose may be lost or adapted, and it must be known that nothing is.
 * What only happens to be a driver's default may change, and what comes with the chosen continuity (a new index in
 * `replay`) was chosen with it.
 * @throws LOSS_REFUSED
 */
export function refuseLosses(options: {
  vm: string;
  model: string;
  plan: ReplayPlan;
  known: Knowledge;
}): void {
  const { vm, model, plan, known } = options;
  const unknown = unknownText(known, model);
  const texts = [...(unknown === undefined ? [] : [unknown]), ...foreseenLosses(plan)];
  if (texts.length > 0) throw new ShadowferryError('LOSS_REFUSED', { vm, model, losses: named(texts) });
}
