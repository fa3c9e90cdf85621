/** Operations on their way to a plan: without a number yet, in the order in which they were thought of. */
import type { DeviceAbilities } from './model.ts';
import type { Operation, ReplayPlan, Stage } from './plan-model.ts';

/** An operation without its number. */
export type Draft = Omit<Operation, 'id'>;

/** What planning finds out besides operations. */
export interface Findings {
  losses: ReplayPlan['losses'];
  adaptations: ReplayPlan['adaptations'];
  warnings: string[];
}

export const noFindings = (): Findings => ({ losses: [], adaptations: [], warnings: [] });

/** How an error message names the destination's device. */
export const deviceWord = (abilities: DeviceAbilities | undefined): string =>
  abilities === undefined ? 'the new device' : abilities.driver;

export function draft(stage: Stage, tool: Draft['tool'], argv: string[], attributes: string[] = []): Draft {
  return { stage, tool, argv, attributes };
}

/** Writes `value` into `file` of /sys or /proc. */
export const write = (stage: Stage, file: string, value: string, attributes: string[] = []): Draft =>
  draft(stage, 'write', [file, value], attributes);

const STAGES: readonly Stage[] = ['prepare', 'raise', 'traffic', 'rest', 'linked', 'noted'];

/** Puts drafts in the order of their stages, keeps the order within each, and numbers them from 1 without gaps. */
export function numbered(drafts: readonly Draft[]): Operation[] {
  return STAGES.flatMap((stage) => drafts.filter((d) => d.stage === stage)).map((d, index) => ({
    id: index + 1,
    ...d,
  }));
}
