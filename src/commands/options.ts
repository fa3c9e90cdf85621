/** Options that several commands share. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { MigrationReport } from '../report/model.ts';
import { renderReport } from '../report/page.ts';

/** A whole number of an option. @throws INPUT_FIELD naming it */
export function wholeNumber(field: string, least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least) return value;
    throw new ShadowferryError('INPUT_FIELD', {
      field,
      problem: `"${text}" is not a whole number of at least ${least}`,
    });
  };
}

/** `NIC=DEVICE`, repeated. @throws INPUT_FIELD, DEVICE_CLAIMED_TWICE */
export function deviceMap(text: string, before: Record<string, string>): Record<string, string> {
  const [nic = '', device = '', ...rest] = text.split('=');
  if (nic === '' || device === '' || rest.length > 0) {
    throw new ShadowferryError('INPUT_FIELD', { field: '--device', problem: `"${text}" is not NIC=DEVICE` });
  }
  if (nic in before)
    throw new ShadowferryError('DEVICE_CLAIMED_TWICE', { field: `--device ${nic}`, value: device });
  return { ...before, [nic]: device };
}

/** Aborts on Ctrl-C and SIGTERM; a second Ctrl-C ends the process as usual. */
export function cancelOnSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => controller.abort(new ShadowferryError('CANCELLED', { phase: 'any' })));
  }
  return controller.signal;
}

export async function writeReport(file: string, report: MigrationReport): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, renderReport(report));
  } catch (error) {
    throw new ShadowferryError('INPUT_FIELD', {
      field: '--report',
      problem: `cannot be written: ${reasonOf(error)}`,
    });
  }
}

export async function readInput(field: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new ShadowferryError('INPUT_FIELD', {
      field,
      problem: `${file} cannot be read: ${reasonOf(error)}`,
    });
  }
}

/** Directory for what outlives a command: `SHADOWFERRY_STATE`, else the system's for root, else the user's. */
export function stateDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.SHADOWFERRY_STATE) return env.SHADOWFERRY_STATE;
  if (process.getuid?.() === 0) return '/var/lib/shadowferry';
  return join(env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'shadowferry');
}
