/** What became of the attributes of a shadow, as results tell it. Pure. */
import { attributesOf } from '../shadow/net/attributes.ts';
import type { NetShadow, Outcome } from '../shadow/net/model.ts';
import type { ReplayPlan } from '../shadow/net/plan-model.ts';
import type { MigrationResult } from './result.ts';

function withFate<F extends Outcome['fate']>(
  outcomes: readonly Outcome[],
  fate: F,
): Extract<Outcome, { fate: F }>[] {
  return outcomes.filter((outcome): outcome is Extract<Outcome, { fate: F }> => outcome.fate === fate);
}

/** What a dry run can say of the attributes: what the plan foresees. */
export function foreseenOutcomes(
  shadow: NetShadow,
  plan: Pick<ReplayPlan, 'adaptations' | 'losses'>,
): Outcome[] {
  const foreseen = new Map<string, Outcome>([
    ...plan.adaptations.map((each) => [each.key, { fate: 'adapted' as const, ...each }] as const),
    ...plan.losses.map((each) => [each.key, { fate: 'lost' as const, ...each }] as const),
  ]);
  return attributesOf(shadow).map(({ key, value }) => foreseen.get(key) ?? { fate: 'restored', key, value });
}

/** Outcomes by their fate, for a result. */
export function shadowOutcomes(
  shadow: NetShadow | undefined,
  outcomes: readonly Outcome[],
): MigrationResult['shadow'] {
  return {
    captured: shadow === undefined ? 0 : attributesOf(shadow).length,
    restored: withFate(outcomes, 'restored'),
    adapted: withFate(outcomes, 'adapted'),
    lost: withFate(outcomes, 'lost'),
  };
}
