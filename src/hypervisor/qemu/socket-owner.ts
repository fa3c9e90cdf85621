/** Which process has a Unix socket open under a path. */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { identify, type ProcessIdentity } from '../../base/process.ts';

/** Inodes of the sockets that are bound to a path, from the text of /proc/net/unix. Pure. */
export function inodesOf(table: string, path: string): string[] {
  return table.split('\n').flatMap((line) => {
    // Num RefCount Protocol Flags Type St Inode Path; the path may hold spaces
    const match = /^\S+: (?:\S+ +){5}(\d+) (.*)$/.exec(line);
    return match?.[1] !== undefined && match[2] === path ? [match[1]] : [];
  });
}

function linksOf(directory: string): string[] {
  try {
    return readdirSync(directory).flatMap((fd) => {
      try {
        return [readlinkSync(`${directory}/${fd}`)];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

/**
 * The process that listens at a path, other than this one; undefined when it cannot be seen, as it is in another
 * network namespace or of another user.
 */
export function socketOwner(path: string): ProcessIdentity | undefined {
  const paths = new Set([path, realpathSync(path)]);
  const table = readFileSync('/proc/net/unix', 'utf8');
  const inodes = new Set([...paths].flatMap((each) => inodesOf(table, each)));
  if (inodes.size === 0) return undefined;
  const wanted = new Set([...inodes].map((inode) => `socket:[${inode}]`));
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const pid = pids.find((each) => linksOf(`/proc/${each}/fd`).some((link) => wanted.has(link)));
  return pid === undefined ? undefined : identify(Number(pid));
}

/** Words of a process's command line; none when it is gone. */
export function commandLineOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}
