/** The guest's network manager, as a migration and a swap tell it and give it its interface back. */
import type { GuestShell } from '../guest/shell.ts';
import {
  GIVEBACK_MS,
  giveInterfaceBack,
  type ManagerReport,
  reportedOtherwise,
  yieldInterface,
} from '../shadow/net/manager/manager.ts';
import type { ReplayPlan } from '../shadow/net/plan-model.ts';
import { programDirectory, type RunLog, waitAfter, warn } from './run.ts';

export const TELLING = "tell the guest's network manager";
export const GIVING_BACK = "give the interface back to the guest's network manager";

/** Tells it, so that it does not fight the replay. */
export async function tellManager(
  run: RunLog,
  shell: GuestShell,
  what: {
    nic: string;
    plan: ReplayPlan;
    standbyPciPath: string | undefined;
    /** Where else than in the plan's slot a device may come: the old one again, if all is taken back. */
    alsoPciPath?: string | undefined;
  },
  signal: AbortSignal,
): Promise<ManagerReport> {
  const { nic, plan, standbyPciPath, alsoPciPath } = what;
  const programDir = programDirectory(nic);
  const manager = await yieldInterface(shell, { programDir, plan, standbyPciPath, alsoPciPath, signal });
  for (const problem of manager.problems) warn(run, problem);
  return manager;
}

/**
 * The program in the guest does it by itself when the replay is done; here its end is awaited and told. A manager that is
 * late is told too: it goes on by itself, and the new device has its state without it.
 */
export async function awaitManager(
  run: RunLog,
  shell: GuestShell,
  nic: string,
  before: ManagerReport,
): Promise<void> {
  const signal = waitAfter("the guest's network manager", GIVEBACK_MS);
  const after = await giveInterfaceBack(shell, programDirectory(nic), signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
    return undefined;
  });
  if (after === undefined) {
    const seconds = GIVEBACK_MS / 1000;
    return warn(
      run,
      `${before.manager} has not taken its interface back in ${seconds} s; it goes on by itself`,
    );
  }
  for (const text of [...after.problems, ...after.notes, ...reportedOtherwise(before, after)])
    warn(run, text);
}

/** Gives the interface back when all is taken back. */
export async function undoTelling(run: RunLog, shell: GuestShell, nic: string): Promise<void> {
  const signal = waitAfter("the guest's network manager", GIVEBACK_MS);
  const { problems } = await giveInterfaceBack(shell, programDirectory(nic), signal);
  for (const problem of problems) warn(run, problem);
}
