import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import { NETNS_DIRECTORY } from './names.ts';

/** A process found in a network namespace. */
export interface NamespaceProcess {
  pid: number;
  netns: string;
  /** The program's name as the kernel has it, 15 characters at most. */
  name: string;
}

/** The names of all network namespaces that iproute2 has pinned. */
export function pinnedNamespaces(): string[] {
  try {
    return readdirSync(NETNS_DIRECTORY);
  } catch {
    return []; // nobody has made one yet
  }
}

/** The processes whose main thread is in one of the namespaces `names`; the caller's own is left out. */
export function processesIn(names: readonly string[]): NamespaceProcess[] {
  const byLink = new Map<string, string>();
  for (const netns of names) {
    const inode = tryTo(() => statSync(`${NETNS_DIRECTORY}/${netns}`).ino);
    if (inode !== undefined) byLink.set(`net:[${inode}]`, netns);
  }
  if (byLink.size === 0) return [];
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    const link = tryTo(() => readlinkSync(`/proc/${pid}/ns/net`));
    const netns = link === undefined ? undefined : byLink.get(link);
    if (netns === undefined) return [];
    const name = tryTo(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) ?? '?';
    return [{ pid, netns, name }];
  });
}

/**
 * Ends every process in the namespaces `names` by its pid and waits until none is left.
 * @throws ShadowferryError DEADLINE when some are still there after `timeoutMs`.
 */
export async function killProcessesIn(names: readonly string[], timeoutMs = 5000): Promise<void> {
  const end = performance.now() + timeoutMs;
  // The kernel announces neither a new process in a namespace nor the end of one that is not our child: look again.
  for (let left = processesIn(names); left.length > 0; left = processesIn(names)) {
    if (performance.now() > end) {
      const list = left.map(({ pid, name }) => `${name} (${pid})`).join(', ');
      throw new ShadowferryError('DEADLINE', { what: `ending ${list}`, ms: timeoutMs });
    }
    for (const { pid } of left) tryTo(() => process.kill(pid, 'SIGKILL'));
    await delay(2);
  }
}

/** Processes come and go while we look: what has gone counts as undefined. */
function tryTo<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
