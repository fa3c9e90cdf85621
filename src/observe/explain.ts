/** What happened in a migration and why, from the journal alone, for people. Pure. */
import { z } from 'zod';
import { formatMs } from '../base/units.ts';
import { CopyTrace } from '../memory/strategy/trace.ts';
import { NOTE } from '../migration/history.ts';
import type { JournalMigration, JournalStep } from '../migration/journal.ts';
import { swapOf } from '../migration/swap/history.ts';

export interface ExplainedMigration {
  id: string;
  /** One sentence. */
  summary: string;
  lines: { atMs: number; text: string }[];
  /** What to do now, if anything. */
  advice: string[];
}

export interface JournalNote {
  at: number;
  kind: string;
  text: string;
}

const Result = z.object({
  totalMs: z.number().optional(),
  blackoutMs: z.number().nullish(),
  error: z.object({ code: z.string(), message: z.string(), fix: z.string().optional() }).optional(),
  warnings: z.array(z.string()).default([]),
  left: z.array(z.string()).default([]),
});
type Result = z.infer<typeof Result>;

const State = z.object({
  kind: z.string(),
  phase: z.string().optional(),
  from: z.string().optional(),
  committed: z.boolean().optional(),
});

function jsonOf<T>(schema: z.ZodType<T>, text: string | null): T | undefined {
  if (text === null) return undefined;
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Where an open migration is; undefined for one that has ended. */
export function phaseOf({ state, ending }: Pick<JournalMigration, 'state' | 'ending'>): string | undefined {
  if (ending !== null) return undefined;
  const parsed = jsonOf(State, state);
  if (parsed === undefined) return undefined;
  return parsed.kind === 'rolling-back' ? `rolling back from ${parsed.from ?? '?'}` : parsed.phase;
}

/** Whether the destination owns the VM by it. A migration that ended well does; one that was taken back does not. */
export function isCommitted({ state, ending }: Pick<JournalMigration, 'state' | 'ending'>): boolean {
  if (ending !== null) return ending === 'completed' || ending === 'degraded' || ending === 'stuck';
  return jsonOf(State, state)?.committed ?? false;
}

/** What it was about: `web1 from a to b`, `a swap of nic0 of web1 on a`. */
function subject(migration: JournalMigration): string {
  const { vm, source, destination } = migration;
  const swap = swapOf(migration);
  if (swap === undefined) return `VM "${vm}" from ${source} to ${destination}`;
  return `a ${swap.kind} of ${swap.device ?? 'a device'} of "${vm}" on ${source}, with ${swap.with}`;
}

const ENDINGS: Readonly<Record<string, string>> = {
  completed: 'completed',
  degraded: 'went through, but the direct device is missing',
  'rolled-back': 'was taken back: everything is as it was',
  planned: 'was only planned: nothing was changed',
  stuck: 'is stuck: something that had to be done could not be',
};

function summaryText(migration: JournalMigration, result: Result | undefined): string {
  const { ending, created, ended } = migration;
  const what = subject(migration);
  if (ending === null) return `${what} is open, in ${phaseOf(migration) ?? 'an unknown phase'}.`;
  const took = result?.totalMs ?? (ended === null ? undefined : ended - created);
  const times = [
    ...(took === undefined ? [] : [`after ${formatMs(took)}`]),
    ...(typeof result?.blackoutMs === 'number' ? [`blackout ${formatMs(result.blackoutMs)}`] : []),
  ].join(', ');
  const why = result?.error === undefined ? '' : `: ${result.error.message} (${result.error.code})`;
  return `${what} ${ENDINGS[ending] ?? ending}${times === '' ? '' : ` ${times}`}${why}.`;
}

/** What a recovery notes before the reason when only the operator can decide. */
const ASKS = 'ask-operator: ';

function noteText({ kind, text }: JournalNote): string {
  switch (kind) {
    case 'state':
      return text;
    case 'decision':
      return `decided ${text}`;
    case 'error':
      return `failed: ${text}`;
    case 'undo':
      return `undone: ${text}`;
    case 'recovery':
      return text.startsWith(ASKS) ? `the operator is asked: ${text.slice(ASKS.length)}` : `${kind}: ${text}`;
    case 'reattached':
      return `the device was attached afterwards: ${text}`;
    case 'staged': {
      const nic = jsonOf(z.object({ nic: z.string() }), text)?.nic ?? 'a NIC';
      return `the shadow of ${nic} and its plan were put into the guest`;
    }
    case NOTE.trace:
      return 'what the copy of the memory looked like was kept (explain --trace)';
    case NOTE.version:
      return `version of the memory after the copy: ${text}`;
    default:
      return `${kind}: ${text}`;
  }
}

function stepText({ phase, name, status, begun, ended }: JournalStep): string {
  const took = ended === null ? '' : ` (${formatMs(ended - begun)})`;
  const how: Record<JournalStep['status'], string> = {
    begun: ' began, and its end is not noted',
    done: took,
    failed: ` FAILED${took}`,
    undone: ' was done, and taken back later',
    'undo-failed': ' was done, and COULD NOT BE TAKEN BACK',
  };
  return `${phase}: ${name}${how[status]}`;
}

function adviceOf(
  migration: JournalMigration,
  steps: readonly JournalStep[],
  result: Result | undefined,
  notes: readonly JournalNote[],
): string[] {
  const left = steps
    .filter(({ status }) => status === 'undo-failed')
    .map(({ name, undo }) => `Left over by "${name}": ${undo.map(({ kind }) => kind).join(', ')}.`);
  const reattached = notes.some(({ kind }) => kind === 'reattached');
  const fix = result?.error?.fix;
  const asked = notes.findLast(({ kind }) => kind === 'recovery');
  if (migration.ending === null && asked?.text.startsWith(ASKS))
    return [`The operator is asked: ${asked.text.slice(ASKS.length)}.`];
  if (migration.ending === null)
    return [
      'Either its process is at work, or that ended before it did; look whether it still runs before you do anything.',
    ];
  return [
    ...(fix === undefined || reattached ? [] : [fix]),
    ...left,
    ...(result?.left ?? []).map((what) => `Left over: ${what}`),
    ...(result?.warnings ?? []).map((what) => `Warned: ${what}`),
  ];
}

/** The copy of a migration's memory as it was kept; undefined when there is none. */
export function traceOf(notes: readonly JournalNote[]): CopyTrace | undefined {
  const kept = notes.findLast(({ kind }) => kind === NOTE.trace);
  return jsonOf(CopyTrace, kept?.text ?? null);
}

/** Explains a migration. */
export function explainMigration(
  migration: JournalMigration,
  steps: readonly JournalStep[],
  notes: readonly JournalNote[],
): ExplainedMigration {
  const result = jsonOf(Result, migration.result);
  const begun = steps.map((step) => ({ atMs: step.begun, text: stepText(step) }));
  const noted = notes.map((note) => ({ atMs: note.at, text: noteText(note) }));
  // a stable sort: what was noted at the same millisecond stays in its order, a step before what was said of it
  const lines = [...begun, ...noted].toSorted((a, b) => a.atMs - b.atMs);
  return {
    id: migration.id,
    summary: summaryText(migration, result),
    lines,
    advice: adviceOf(migration, steps, result, notes),
  };
}
