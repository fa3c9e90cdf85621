/** A migration plan as a file: what was asked for, and the replay plans that a dry run made of it. Pure. */
import { z } from 'zod';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { ReplayPlan } from '../shadow/net/plan-model.ts';
import { MigrationRequest } from './request.ts';

const TYPE = 'shadowferry-plan';
const SCHEMA = 2;

const PlannedNic = z.object({ nic: z.string(), device: z.string(), replay: ReplayPlan });
export type PlannedNic = z.infer<typeof PlannedNic>;

const PlanFile = z.object({
  type: z.literal(TYPE),
  schema: z.literal(SCHEMA),
  request: MigrationRequest,
  /** Each NIC that moves, with the destination's device that it gets. */
  nics: z.array(PlannedNic).min(1),
});
export type PlanFile = z.infer<typeof PlanFile>;

/**
 * The text of a plan file; the request in it is to be performed, whatever made it, and names the devices that the plan
 * was made for.
 */
export function planText(request: MigrationRequest, nics: PlannedNic[]): string {
  const devices = Object.fromEntries(nics.map(({ nic, device }) => [nic, device]));
  const plan: PlanFile = {
    type: TYPE,
    schema: SCHEMA,
    request: { ...request, devices, dryRun: false },
    nics,
  };
  return `${JSON.stringify(plan, undefined, 2)}\n`;
}

const Head = z.object({ type: z.literal(TYPE), schema: z.unknown().optional() });

/** @throws PLAN_INVALID with the first thing that is wrong; `file` is the name to say. */
export function parsePlan(file: string, text: string): PlanFile {
  const invalid = (problem: string, cause?: unknown) =>
    new ShadowferryError('PLAN_INVALID', { file, problem }, { cause });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw invalid(`it is not JSON (${reasonOf(error)})`, error);
  }
  const head = Head.safeParse(json);
  if (!head.success) throw invalid(`it is JSON of something else (it has no "type": "${TYPE}")`);
  if (head.data.schema !== SCHEMA) {
    throw invalid(`its schema is ${JSON.stringify(head.data.schema)}, and this version reads ${SCHEMA}`);
  }
  const parsed = PlanFile.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalid(`${issue?.path.join('.') ?? 'it'}: ${issue?.message ?? 'is not valid'}`, parsed.error);
}
