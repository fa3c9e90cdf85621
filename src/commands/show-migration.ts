/** Performs a migration in a lab and shows it: the progress, the report page, the plan or the result, the exit code. */
import type { Lab } from '../lab/lab.ts';
import { hostOf } from '../lab/lab.ts';
import { migrateInLab, type Observed, observedMigration } from '../lab/scenario.ts';
import type { Outcomes } from '../migration/engine.ts';
import { lastFigures } from '../migration/history.ts';
import { resolveTargets } from '../migration/match.ts';
import type { MigrationRequest } from '../migration/request.ts';
import { disconnectVm, type RunningVm } from '../migration/vm.ts';
import { exitCodeOf, renderResult, reportOf, resultLine } from './migration-output.ts';
import { print, say, writeReport } from './options.ts';
import { type Foreseen, planPart, renderPlan } from './plan-output.ts';
import { jsonProgress, listProgress } from './progress.ts';

export interface ShowOptions {
  lab: Lab;
  vm: RunningVm;
  request: MigrationRequest;
  cancel: AbortSignal;
  json: boolean;
  /** Look from outside, with probes. */
  observe: boolean;
  bulkRate: number;
  report: string | undefined;
  /** Asked before the hand-over. */
  confirm?: (() => Promise<void>) | undefined;
}

/**
 * @throws what `resolveTargets` and `migrateVm` throw of a request that does not fit; how the migration ended is in
 * the result and the exit code.
 */
export async function showMigration(options: ShowOptions): Promise<Outcomes> {
  const { lab, vm, request, cancel, json, report, confirm } = options;
  const destination = hostOf(lab, request.destination, 'destination');
  const matches = await resolveTargets(request, vm, destination, lab.ownership);
  const { memoryMiB } = vm.qemu.spec;
  const last = lastFigures(lab.journal, vm.qemu.spec.name);
  const foreseen: Foreseen = { matches, memoryMiB, maxBandwidth: request.maxBandwidth, last };
  const { major, minor, micro } = vm.qemu.monitor.version;
  const view = json ? jsonProgress(print) : listProgress(confirm !== undefined);
  let outcome: Outcomes & Partial<Observed>;
  try {
    const migration = { lab, vm, request, emit: view.emit, cancel, ...(confirm ? { confirm } : {}) };
    outcome =
      request.dryRun || !options.observe
        ? await migrateInLab(migration)
        : await observedMigration({ ...migration, bulkRate: options.bulkRate });
  } catch (error) {
    await view.finish(String(error));
    throw error;
  }
  try {
    await tell(outcome);
    return outcome;
  } finally {
    // an open connection would keep this process
    if (outcome.destinationVm !== undefined) await disconnectVm(outcome.destinationVm);
  }

  async function tell({ result, observed }: Outcomes & Partial<Observed>): Promise<void> {
    await view.finish(result.error?.message);
    const told = resultLine(result, observed);
    const planned = result.ending === 'planned';
    if (json) print(JSON.stringify(planned ? { ...told, plan: planPart(result, foreseen) } : told));
    else process.stdout.write(planned ? renderPlan(result, foreseen) : renderResult(result, observed));
    if (told.ok !== true) process.exitCode = exitCodeOf(result);
    if (report === undefined) return;
    const { accelerator } = vm.host.qemu;
    const about = { qemu: `${major}.${minor}.${micro}`, accelerator, kernel: lab.image.kernelVersion };
    await writeReport(report, reportOf(result, observed, about));
    say(`The report is ${report}`);
  }
}
