/** QEMU processes by the directory of their VM, also one whose supervisor died before it could write down whose it is. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { identify, type ProcessIdentity, signalProcess } from '../../base/process.ts';
import { ShadowferryError } from '../../errors.ts';
import { vmPaths } from './spec.ts';

/** From `SIGKILL` to the end of a process: QEMU frees the guest's memory meanwhile. */
const END_MS = 10_000;
const END_LOOK_MS = 20;

/** Words of a process's command line; empty when it is gone, or a thread of the kernel. */
function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Whether a command line is that of a QEMU with its monitor in a directory. Pure. */
export function isQemuOf(words: readonly string[], directory: string): boolean {
  return words.includes('-mon') && words.some((word) => word.includes(vmPaths(directory).monitor));
}

/** The QEMUs of this machine that have their monitor in a directory. */
export function qemuOfDirectory(directory: string): ProcessIdentity[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isQemuOf(commandLine(Number(name)), directory))
    .flatMap((pid) => identify(Number(pid)) ?? []);
}

/**
 * Ends every QEMU of a directory, whoever started it and however far that came, and removes the directory. Does nothing
 * where there is neither. @throws INTERNAL when one does not end
 */
export async function endQemusOf(directory: string): Promise<void> {
  const until = performance.now() + END_MS;
  for (let all = qemuOfDirectory(directory); all.length > 0; all = qemuOfDirectory(directory)) {
    for (const identity of all) signalProcess(identity, 'SIGKILL');
    if (performance.now() > until) {
      const why = `QEMU (pid ${all.map(({ pid }) => pid).join(', ')}) does not end`;
      throw new ShadowferryError('INTERNAL', { why });
    }
    await delay(END_LOOK_MS);
  }
  rmSync(directory, { recursive: true, force: true });
}
