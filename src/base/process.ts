/** Processes that outlive the one that started them, and are found again without mistaking a reused pid. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const END_LOOK_MS = 10;

/** A pid together with the kernel's start time of that process: unique until the next boot. */
export interface ProcessIdentity {
  pid: number;
  /** Field 22 of /proc/PID/stat, clock ticks since boot. */
  startTicks: string;
}

function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // the second field is the program's name in parentheses and may itself hold spaces and parentheses
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** Identity of a live process, or undefined when there is none (a zombie counts as none). */
export function identify(pid: number): ProcessIdentity | undefined {
  const fields = statFields(pid);
  if (fields?.[19] === undefined || fields[0] === 'Z') return undefined;
  return { pid, startTicks: fields[19] };
}

/** Whether exactly this process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTicks === identity.startTicks;
}

/**
 * Waits until a process that is ending has ended; the kernel tells nobody but its parent.
 * @param ms longest wait
 * @returns whether it has
 */
export async function untilEnded(identity: ProcessIdentity, ms: number): Promise<boolean> {
  const until = performance.now() + ms;
  while (isAlive(identity) && performance.now() < until) await delay(END_LOOK_MS);
  return !isAlive(identity);
}

/** Sends a signal to exactly this process; returns false when it is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}

/**
 * Starts a program in a session of its own with its output in a log file; it survives our end. Until `release` this
 * process waits for it; afterwards this process may end first.
 */
export function spawnDetached(
  argv: readonly [string, ...string[]],
  logFile: string,
): { pid: number; exited: Promise<string>; release: () => void } {
  const [program, ...args] = argv;
  const log = openSync(logFile, 'a');
  try {
    const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log] });
    const exited = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) =>
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
      );
    });
    return { pid: child.pid ?? -1, exited, release: () => child.unref() };
  } finally {
    closeSync(log);
  }
}
