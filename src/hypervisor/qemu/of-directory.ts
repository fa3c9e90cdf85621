/** QEMU processes by the directory of their VM, also one whose supervisor died before it could write down whose it is. */
import { readdirSync, readFileSync } from 'node:fs';
import { identify, type ProcessIdentity } from '../../base/process.ts';
import { vmPaths } from './spec.ts';

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
