/**
 * The guest's network manager (ifupdown, systemd-networkd, NetworkManager) and its DHCP client: told before a replay,
 * given the interface back after it, by `manager.sh` in the guest.
 */
import { readFileSync } from 'node:fs';
import { shellCommand, shellQuote } from '../../../base/shell-quote.ts';
import type { GuestShell } from '../../../guest/shell.ts';
import { assignments } from '../compile.ts';
import type { ReplayPlan } from '../plan-model.ts';

/** The agent's environment is bare. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

export const MANAGERS = ['none', 'ifupdown', 'networkd', 'NetworkManager'] as const;
export type ManagerName = (typeof MANAGERS)[number];

/** What `manager.sh` said. */
export interface ManagerReport {
  manager: ManagerName;
  /** The DHCP client that runs for the interface alone, by its name. */
  client: string | undefined;
  /** How the manager itself reports the interface, a fact a line. */
  report: readonly string[];
  /** What was done that stays, for the user to know. */
  notes: readonly string[];
  /** What could not be done. */
  problems: readonly string[];
}

/** Longest list of lines that is looked at: the guest is not trusted. */
const MOST_LINES = 200;

/** Parses the lines of `manager.sh`; what it does not know is a problem, told with the line. Pure. */
export function parseManagerReport(text: string): ManagerReport {
  const report: string[] = [];
  const notes: string[] = [];
  const problems: string[] = [];
  let manager: ManagerName = 'none';
  let client: string | undefined;
  for (const line of text.split('\n').slice(0, MOST_LINES)) {
    const at = line.indexOf(' ');
    const [key, value] = at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1).slice(0, 400)];
    const known = MANAGERS.find((name) => name === value);
    if (line === '') continue;
    if (key === 'manager' && known !== undefined) manager = known;
    else if (key === 'client') client = value;
    else if (key === 'report') report.push(value);
    else if (key === 'note') notes.push(value);
    else if (key === 'problem') problems.push(value);
    else problems.push(`the guest said: ${line.slice(0, 200)}`);
  }
  return { manager, client, report, notes, problems };
}

/** What the manager reports otherwise than before, a sentence each. Pure. */
export function reportedOtherwise(before: ManagerReport, after: ManagerReport): string[] {
  const missing = before.report.filter((line) => !after.report.includes(line));
  const fresh = after.report.filter((line) => !before.report.includes(line));
  if (missing.length === 0 && fresh.length === 0) return [];
  return [
    `${before.manager} reported ${missing.join(', ') || 'nothing'} before and ${fresh.join(', ') || 'nothing'} now`,
  ];
}

/** Directory of `manager.sh` for the program in `programDir`: beside it, as that one is removed and made anew. */
export const managerDirectory = (programDir: string): string => `${programDir}.manager`;

export interface YieldOptions {
  /** Directory of the replay program. */
  programDir: string;
  plan: Pick<ReplayPlan, 'interfaceName' | 'match' | 'standIn'>;
  standbyPciPath: string | undefined;
  /** Another slot where a device of the interface may come, beside the plan's. */
  alsoPciPath?: string | undefined;
  signal: AbortSignal;
}

/**
 * Tells the guest's manager that the interface goes and comes; what carries traffic now stays as it is. A failover of
 * the kernel's own keeps its master, which is all that managers see of it.
 * @throws ShadowferryError those of the way into the guest
 */
export async function yieldInterface(shell: GuestShell, options: YieldOptions): Promise<ManagerReport> {
  const { programDir, plan, standbyPciPath, alsoPciPath, signal } = options;
  const { pciPath } = plan.match;
  const dir = managerDirectory(programDir);
  const config = assignments({
    interface: plan.interfaceName,
    pci: [...new Set([pciPath, alsoPciPath ?? pciPath])].join(' '),
    standby: standbyPciPath ?? '',
    tag: programDir.slice(programDir.lastIndexOf('/') + 1),
    bond: plan.standIn === 'bond' ? '1' : '',
  });
  const text = readFileSync(new URL('./manager.sh', import.meta.url), 'utf8');
  const script = [
    'set -e',
    'umask 077',
    shellCommand(['rm', '-rf', dir]),
    shellCommand(['mkdir', '-p', dir]),
    `printf %s ${shellQuote(text)} > ${shellQuote(`${dir}/manager.sh`)}`,
    `printf %s ${shellQuote(config)} > ${shellQuote(`${dir}/config`)}`,
    shellCommand(['/bin/sh', `${dir}/manager.sh`, dir, 'yield']),
    '',
  ].join('\n');
  const { stdout } = await shell.exec(['/bin/sh', '-s'], {
    input: script,
    env: { PATH, LC_ALL: 'C' },
    signal,
    check: true,
    timeoutMs: YIELD_MS,
  });
  return parseManagerReport(stdout);
}

/**
 * Gives the interface back to its manager, or waits until the program in the guest has, and removes what `yieldInterface`
 * put there. Harmless when it was never put there, and when it is done twice.
 * @throws ShadowferryError those of the way into the guest
 */
export async function giveInterfaceBack(
  shell: GuestShell,
  programDir: string,
  signal: AbortSignal,
): Promise<ManagerReport> {
  const dir = shellQuote(managerDirectory(programDir));
  const script = `if [ -e ${dir}/manager.sh ]; then sh ${dir}/manager.sh ${dir} giveback && rm -rf ${dir}; fi\n`;
  const { stdout } = await shell.exec(['/bin/sh', '-s'], {
    input: script,
    env: { PATH, LC_ALL: 'C' },
    signal,
    check: true,
    timeoutMs: GIVEBACK_MS,
  });
  return parseManagerReport(stdout);
}

/** Longest time that a manager may take to be told, ms: init systems read all their files again for less. */
export const YIELD_MS = 60_000;

/** Longest time that a manager may take to have the interface again, ms. */
export const GIVEBACK_MS = 90_000;
