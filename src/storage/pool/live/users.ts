/** Which other processes have a file open: what is needed to be sure that a QEMU has ended. */
import { readdirSync, readlinkSync, realpathSync } from 'node:fs';

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // it has ended meanwhile, or is another user's
  }
}

function target(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

/** Pids of other processes that have `path` open, as far as this user may see them. */
export function usersOf(path: string): number[] {
  const real = realpathSync(path);
  const pids = entries('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids
    .filter((pid) => entries(`/proc/${pid}/fd`).some((fd) => target(`/proc/${pid}/fd/${fd}`) === real))
    .map(Number);
}
