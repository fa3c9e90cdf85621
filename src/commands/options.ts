/** Options that several commands share. */
import { closeSync, existsSync, mkdtempSync, openSync, rmdirSync, statSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { NicSpec } from '../hypervisor/qemu/spec.ts';
import { type PlanFile, parsePlan } from '../migration/plan-file.ts';
import type { MigrationReport } from '../report/model.ts';
import { renderReport } from '../report/page.ts';
import { renderTimelineSvg } from '../report/timeline-svg.ts';

/** A whole number of an option. @throws INPUT_FIELD naming it */
export function wholeNumber(
  field: string,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    const bounds = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new ShadowferryError('INPUT_FIELD', {
      field,
      problem: `"${text}" is not a whole number ${bounds}`,
    });
  };
}

/** The VM's memory in MiB: less does not boot, more does not fit a spec. */
export const memoryMiB = wholeNumber('--memory', 128, 1024 * 1024);

/** @throws UNKNOWN_MODE */
export function standbyOf(text: string): NicSpec['standby'] {
  if (text === 'none' || text === 'virtio' || text === 'failover') return text;
  const allowed = 'none, virtio, failover';
  throw new ShadowferryError('UNKNOWN_MODE', { field: '--standby', value: text, allowed });
}

/**
 * Makes sure that a file that is to be written at the end can be, before anything runs; changes nothing.
 * @throws INPUT_FIELD
 */
export function checkWritable(field: string, file: string | undefined): void {
  if (file === undefined) return;
  try {
    if (file === '') throw new Error('it has no name');
    const there = statSync(file, { throwIfNoEntry: false });
    if (there !== undefined) {
      if (there.isDirectory()) throw new Error('it is a directory');
      closeSync(openSync(file, 'a'));
      return;
    }
    let directory = dirname(file);
    while (!existsSync(directory)) directory = dirname(directory);
    // tried, as a file system may refuse what the permissions allow
    rmdirSync(mkdtempSync(join(directory, '.shadowferry-')));
  } catch (error) {
    throw new ShadowferryError('INPUT_FIELD', {
      field,
      problem: `${file} cannot be written: ${reasonOf(error)}`,
    });
  }
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

/** `DISK=PATH`, repeated. @throws INPUT_FIELD */
export function diskMap(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  const [disk, path] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  const problem =
    disk === '' || path === ''
      ? `"${text}" is not DISK=PATH`
      : disk in before
        ? `disk ${disk} has two paths`
        : undefined;
  if (problem !== undefined) throw new ShadowferryError('INPUT_FIELD', { field: '--disk', problem });
  return { ...before, [disk]: path };
}

/** `--continuity`: one mode for all NICs, and modes of single ones. */
export interface ContinuityOption {
  all?: string;
  of?: Record<string, string>;
}

/** `MODE` or `NIC=MODE`, repeated; which modes there are is checked with the request. @throws INPUT_FIELD */
export function continuityOption(text: string, before: ContinuityOption): ContinuityOption {
  const twice = (what: string) =>
    new ShadowferryError('INPUT_FIELD', { field: '--continuity', problem: `${what} has two modes` });
  const [nic = '', mode, ...rest] = text.split('=');
  if (mode === undefined) {
    if (before.all !== undefined && before.all !== text) throw twice('the VM');
    return { ...before, all: text };
  }
  if (nic === '' || mode === '' || rest.length > 0) {
    const problem = `"${text}" is neither MODE nor NIC=MODE`;
    throw new ShadowferryError('INPUT_FIELD', { field: '--continuity', problem });
  }
  const of = before.of ?? {};
  if (nic in of && of[nic] !== mode) throw twice(nic);
  return { ...before, of: { ...of, [nic]: mode } };
}

/** Aborts on Ctrl-C and SIGTERM; a second Ctrl-C ends the process as usual. */
export function cancelOnSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => controller.abort(new ShadowferryError('CANCELLED', { phase: 'any' })));
  }
  return controller.signal;
}

/** Writes what an option names, with the directories above it. @throws INPUT_FIELD */
export async function writeOutput(field: string, file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  } catch (error) {
    const problem = `${file} cannot be written: ${reasonOf(error)}`;
    throw new ShadowferryError('INPUT_FIELD', { field, problem });
  }
}

/** Writes the page about a migration, or the picture alone where the file's name ends in `.svg`. @throws INPUT_FIELD */
export function writeReport(file: string, report: MigrationReport): Promise<void> {
  const picture = { width: 1000, height: 420, theme: 'auto' } as const;
  const text = file.endsWith('.svg') ? renderTimelineSvg(report, picture) : renderReport(report);
  return writeOutput('--report', file, text);
}

/** Reads a plan file. @throws PLAN_INVALID, also when it cannot be read */
export async function readPlan(file: string): Promise<PlanFile> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new ShadowferryError('PLAN_INVALID', { file, problem: `it cannot be read (${reasonOf(error)})` });
  }
  return parsePlan(file, text);
}

/** One line on standard output: for programs, and for people. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** One line for people, away from what programs read. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Directory for what outlives a command: `SHADOWFERRY_STATE`, else the system's for root, else the user's. */
export function stateDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.SHADOWFERRY_STATE) return env.SHADOWFERRY_STATE;
  if (process.getuid?.() === 0) return '/var/lib/shadowferry';
  return join(env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'shadowferry');
}

/** The state directory, said to this process by its environment as well: in a user namespace everybody is root. */
export function fixedStateDirectory(): string {
  const directory = stateDirectory();
  process.env.SHADOWFERRY_STATE = directory;
  return directory;
}
