import { access, constants, readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';

/** What this process may do about networks, and what follows. */
export interface RightsDecision {
  action: 'stay' | 'enter';
  reason: string;
}

/** Switches of the kernel that forbid user namespaces; undefined where the kernel has no such switch. */
export interface UserNamespaceSwitches {
  /** kernel.unprivileged_userns_clone (Debian) */
  clone?: string | undefined;
  /** user.max_user_namespaces */
  maximum?: string | undefined;
  /** kernel.apparmor_restrict_unprivileged_userns (Ubuntu) */
  apparmor?: string | undefined;
}

const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;
const MARK = 'SHADOWFERRY_USER_NAMESPACE';

/** Decides by the text of /proc/self/status whether networks can be built here. Pure. */
export function decideRights(status: string): RightsDecision {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const has = (capability: bigint) => ((effective >> capability) & 1n) === 1n;
  if (has(CAP_NET_ADMIN) && has(CAP_SYS_ADMIN)) {
    return { action: 'stay', reason: 'This process may build networks.' };
  }
  return {
    action: 'enter',
    reason: 'This process may not build networks here, but it may in a user namespace of its own.',
  };
}

/** Says why there is no user namespace to be had, and what to do about it. Pure. */
export function explainRefusal(switches: UserNamespaceSwitches, stderr: string): ShadowferryError {
  const refused = (why: string, command: string) =>
    new ShadowferryError('RIGHTS_MISSING', {
      what: `building a lab network without being root (${why})`,
      command,
    });
  const orRoot = 'or run as root.';
  if (switches.clone === '0') {
    return refused(
      'the kernel keeps user namespaces for root',
      `Run "sudo sysctl kernel.unprivileged_userns_clone=1", ${orRoot}`,
    );
  }
  if (switches.maximum === '0') {
    return refused(
      'the kernel allows no user namespaces',
      `Run "sudo sysctl user.max_user_namespaces=10000", ${orRoot}`,
    );
  }
  if (switches.apparmor === '1') {
    return refused(
      'AppArmor keeps user namespaces for root',
      `Run "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0", ${orRoot}`,
    );
  }
  return refused(
    stderr.trim().split('\n')[0] || 'no user namespace can be made here',
    'Run as root; in a container, give it CAP_NET_ADMIN and CAP_SYS_ADMIN.',
  );
}

// Loopback up; /run/netns, where iproute2 pins namespaces, private and writable. Where there is no such directory,
// all of /run is covered by a writable one in which everything that was there is mounted again; /mnt is borrowed for it.
const PREPARE = `set -e
ip link set lo up
if [ -d /run/netns ]; then
  mount -t tmpfs -o mode=0755 tmpfs /run/netns
else
  mount --rbind /run /mnt
  mount -t tmpfs -o mode=0755 tmpfs /run
  for entry in /mnt/*; do
    name=\${entry##*/}
    if [ -L "$entry" ]; then cp -P "$entry" /run
    elif [ -d "$entry" ]; then mkdir -p "/run/$name"; mount --rbind "$entry" "/run/$name"
    elif [ -e "$entry" ]; then : > "/run/$name"; mount --bind "$entry" "/run/$name"
    fi
  done
  mkdir /run/netns
  umount -l /mnt
fi
exec "$@"`;

const UNSHARE = ['--user', '--map-root-user', '--net', '--mount', '--propagation', 'private', '--'];

/**
 * Makes sure that this process may build lab networks: when it may not, it is replaced by itself (same pid, same
 * arguments) in a user namespace where it is root over networks of its own. Call it before anything is opened: only
 * standard input, output and error go along. Networks made then are private to this process and those it starts, and
 * vanish with the last of them. There is no PID namespace: "unshare --fork" would stand between us and our signals.
 * @returns why the process stays as it is
 * @throws ShadowferryError RIGHTS_MISSING with what to do, TOOL_MISSING
 */
export async function enterUserNamespace(): Promise<RightsDecision> {
  const decision = decideRights(await readFile('/proc/self/status', 'utf8'));
  if (decision.action === 'stay') return decision;
  const tried = await exec(['unshare', ...UNSHARE, 'sh', '-c', PREPARE, 'sh', 'true'], {
    allowFailure: true,
  });
  if (tried.code !== 0 || process.env[MARK] !== undefined) {
    throw explainRefusal(await readSwitches(), tried.stderr);
  }
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const unshare = await find('unshare');
  if (!process.execve) throw new ShadowferryError('TOOL_MISSING', NEWER_NODE);
  return process.execve(unshare, ['unshare', ...UNSHARE, 'sh', '-c', PREPARE, 'sh', ...again], {
    ...process.env,
    [MARK]: '1',
  });
}

/** Whether this process came here by `enterUserNamespace` or `enterNamespacesOf`. */
export function inUserNamespace(): boolean {
  return process.env[MARK] !== undefined;
}

/** The words before a program that runs it in the namespaces of process `pid`, as a user of that process's own. */
export function inNamespacesOf(pid: number): string[] {
  return ['nsenter', '--preserve-credentials', '--user', '--net', '--mount', `--target=${pid}`, '--'];
}

/**
 * Replaces this process by itself (same pid, arguments, directory) in the user namespace of process `pid`, with the
 * networks that were made there; does nothing when it is in one already. Call it before anything is opened.
 * @throws ShadowferryError TOOL_MISSING; COMMAND_FAILED when that process belongs to another user
 */
export async function enterNamespacesOf(pid: number): Promise<void> {
  if (inUserNamespace()) return;
  const [program = '', ...enter] = inNamespacesOf(pid);
  await exec([program, ...enter, 'true']);
  if (!process.execve) throw new ShadowferryError('TOOL_MISSING', NEWER_NODE);
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  // another mount namespace is entered at its root directory
  const back = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', process.cwd()];
  process.execve(await find(program), [program, ...enter, ...back, ...again], {
    ...process.env,
    [MARK]: '1',
  });
}

const NEWER_NODE = { tool: 'process.execve of Node', install: 'Use Node 24 or newer.' };

async function readSwitches(): Promise<UserNamespaceSwitches> {
  const read = async (path: string) => {
    try {
      return (await readFile(`/proc/sys/${path}`, 'utf8')).trim();
    } catch {
      return undefined; // this kernel has no such switch
    }
  };
  return {
    clone: await read('kernel/unprivileged_userns_clone'),
    maximum: await read('user/max_user_namespaces'),
    apparmor: await read('kernel/apparmor_restrict_unprivileged_userns'),
  };
}

async function find(program: string): Promise<string> {
  for (const directory of (process.env.PATH ?? '/usr/bin:/bin').split(delimiter)) {
    const path = join(directory, program);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // not there
    }
  }
  throw new ShadowferryError('TOOL_MISSING', { tool: program, install: 'Install util-linux.' });
}
