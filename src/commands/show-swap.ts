/** Performs a swap or a rescue and shows it: the progress, the report page, the plan or the result, the exit code. */
import { setTimeout as delay } from 'node:timers/promises';
import type { MigrationEvent } from '../migration/events.ts';
import type { Phase } from '../migration/machine.ts';
import type { MigrationResult } from '../migration/result.ts';
import { SWAP_PHASES, type SwapKind, type SwapPhase } from '../migration/swap/machine.ts';
import type { SwapSite } from '../migration/swap/site.ts';
import type { MigrationReport } from '../report/model.ts';
import { exitCodeOf, type Observation, renderResult, reportOf, resultLine } from './migration-output.ts';
import { print, say, writeReport } from './options.ts';
import { jsonProgress, listProgress, type ProgressView } from './progress.ts';

/** Traffic before and after, ms: what "undisturbed" looks like. */
const QUIET_MS = 700;

const TITLES: Record<SwapKind, Record<SwapPhase, string>> = {
  swap: {
    preflight: 'preflight: capture the shadow, plan',
    reserve: 'reserve: claim the new device',
    stage: 'stage: shadow and program to where the interface is',
    detach: 'detach: traffic leaves the old device, which is released',
    attach: 'attach: new device, replay',
    settle: 'settle: compare, let go of the old device',
  },
  rescue: {
    preflight: 'preflight: the device is dead; its last known shadow, plan',
    reserve: 'reserve: claim the new device',
    stage: 'stage: shadow and program to where the interface is',
    detach: 'detach: what is left of the dead device goes',
    attach: 'attach: new device, replay',
    settle: 'settle: compare, let go of the dead device',
  },
};

/** How a swap is shown while it runs. */
export function swapProgress(kind: SwapKind, json: boolean): ProgressView {
  if (json) return jsonProgress(print);
  return listProgress(
    false,
    new Map<Phase, string>(SWAP_PHASES.map((phase) => [phase, TITLES[kind][phase]])),
  );
}

interface Watcher {
  stop(): Promise<Observation>;
  kill(): void;
}

export interface ShowSwapOptions {
  kind: SwapKind;
  site: SwapSite;
  json: boolean;
  report: string | undefined;
  about: MigrationReport['host'];
  /** Looks from outside; absent where nobody looks. */
  watch?: (() => Promise<Watcher>) | undefined;
  act: (emit: (event: MigrationEvent) => void) => Promise<MigrationResult>;
}

/** The table that a dry run ends with. */
export function renderSwapPlan(result: MigrationResult, { nic, devices }: SwapSite): string {
  const { shadow } = result;
  const reason = result.decisions.findLast(({ action }) => action === result.continuity)?.reason;
  const { old, new: target } = devices;
  const table = [
    ['Plan', `${result.kind} in ${result.vm} on ${result.source}; nothing was changed`],
    ['Device', `${nic}: ${old.id}, ${old.model} → ${target.id}, ${target.model}`],
    ['Continuity', `${result.continuity ?? '-'}${reason === undefined ? '' : ` (${reason})`}`],
    [
      'Shadow',
      `${shadow.captured} attributes: ${shadow.restored.length} to be restored, ${shadow.adapted.length} adapted, ${shadow.lost.length} lost`,
    ],
  ] as const;
  const width = Math.max(...table.map(([name]) => name.length));
  return `${[
    ...table.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`),
    ...shadow.adapted.map(({ key, value, now, how }) => `  adapted: ${key} ${value} → ${now}: ${how}`),
    ...shadow.lost.map(({ key, why }) => `  lost: ${key}: ${why}`),
    ...result.warnings.map((text) => `  warning: ${text}`),
  ].join('\n')}\n`;
}

async function observed(
  options: ShowSwapOptions,
  emit: (event: MigrationEvent) => void,
): Promise<{ result: MigrationResult; seen: Observation | undefined }> {
  const watcher = await options.watch?.();
  if (watcher === undefined) return { result: await options.act(emit), seen: undefined };
  try {
    await delay(QUIET_MS);
    const result = await options.act(emit);
    await delay(QUIET_MS);
    return { result, seen: await watcher.stop() };
  } finally {
    watcher.kill();
  }
}

/** @throws what `watch` throws; how the swap ended is in the result and the exit code. */
export async function showSwap(options: ShowSwapOptions): Promise<MigrationResult> {
  const view = swapProgress(options.kind, options.json);
  let outcome: Awaited<ReturnType<typeof observed>>;
  try {
    outcome = await observed(options, view.emit);
  } catch (error) {
    await view.finish(String(error));
    throw error;
  }
  const { result, seen } = outcome;
  await view.finish(result.error?.message);
  await tellSwap(result, seen, options);
  return result;
}

/** Prints how a swap ended, writes its report, and sets the exit code. */
export async function tellSwap(
  result: MigrationResult,
  seen: Observation | undefined,
  { site, json, report, about }: Pick<ShowSwapOptions, 'site' | 'json' | 'report' | 'about'>,
): Promise<void> {
  const told = resultLine(result, seen);
  const planned = result.ending === 'planned';
  if (json) print(JSON.stringify(planned ? { ...told, plan: planPart(result, site) } : told));
  else process.stdout.write(planned ? renderSwapPlan(result, site) : renderResult(result, seen));
  if (told.ok !== true) process.exitCode = exitCodeOf(result);
  if (report === undefined) return;
  await writeReport(report, reportOf(result, seen, about));
  say(`The report is ${report}`);
}

/** The part `plan` of a dry run's JSON line. */
function planPart(result: MigrationResult, { nic, devices }: SwapSite): Record<string, unknown> {
  const told = ({ id, model }: SwapSite['devices']['old']) => ({ device: id, model });
  const reason = result.decisions.findLast(({ action }) => action === result.continuity)?.reason ?? null;
  return {
    matches: [{ nic, from: told(devices.old), to: told(devices.new) }],
    continuity: { action: result.continuity ?? null, reason },
  };
}
