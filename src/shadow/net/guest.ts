/** What the host does inside a guest for a shadow, through a shell of it: off the critical path, all of it. */
import { shellCommand, shellQuote } from '../../base/shell-quote.ts';
import { ShadowferryError } from '../../errors.ts';
import type { GuestShell } from '../../guest/shell.ts';
import { againScript } from './again.ts';
import { captureArgs, captureScript, parseCapture } from './capture.ts';
import { CaptureMemory } from './capture-memory.ts';
import type { GuestFile } from './compile.ts';
import type { DeviceIdentity, NetShadow } from './model.ts';
import type { ReplayPlan } from './plan-model.ts';

/** The environment of a guest's agent is bare; tools of the system must be found before a shell's own. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Longest run of a script, ms, whatever its caller waits for. */
const LONGEST_MS = 600_000;

/** Runs a POSIX shell script in the guest; the text goes in as data on standard input. */
async function runScript(
  shell: GuestShell,
  script: string,
  args: readonly string[],
  options: { signal: AbortSignal; check: boolean },
): Promise<{ code: number; stdout: string; stderr: string }> {
  return shell.exec(['/bin/sh', '-s', '--', ...args], {
    input: script,
    env: { PATH, LC_ALL: 'C' },
    // the caller's signal is the deadline: who gives a slow guest more time shall have it
    timeoutMs: LONGEST_MS,
    ...options,
  });
}

/**
 * Captures the shadow of a direct device.
 * @param memory of earlier captures of the device in this migration, which saves questions and is kept up
 * @throws ShadowferryError AGENT_SILENT, AGENT_REFUSED, GUEST_LACKS, GUEST_COMMAND_FAILED.
 */
export async function captureShadow(
  shell: GuestShell,
  identity: DeviceIdentity,
  standbyPciPath: string | undefined,
  signal: AbortSignal,
  memory = new CaptureMemory(),
): Promise<NetShadow> {
  const look = async (known: string): Promise<string> => {
    const args = captureArgs(identity, { known });
    return (await runScript(shell, captureScript(), args, { signal, check: false })).stdout;
  };
  const text = memory.completed(await look(memory.known)) ?? (await look(''));
  memory.keep(text);
  return parseCapture(text, identity, standbyPciPath === undefined ? {} : { standbyPciPath });
}

/** What the program saw of the new device before it set anything on it; undefined when it saw nothing that is whole. */
export async function freshShadow(
  shell: GuestShell,
  dir: string,
  identity: DeviceIdentity,
  signal: AbortSignal,
): Promise<NetShadow | undefined> {
  const { code, stdout } = await runScript(shell, 'cat "$1"\n', [`${dir}/fresh`], { signal, check: false });
  if (code !== 0) return undefined;
  try {
    return parseCapture(stdout, identity);
  } catch {
    return undefined;
  }
}

export interface GuestFacts {
  kernel: string;
  bonding: boolean;
  /** Programs that a replay may need, by presence; `ip` only where it is iproute2's. */
  tools: Record<'ip' | 'tc' | 'ethtool' | 'bridge', boolean>;
  /** The `ip` that is there is another one: busybox's, which knows a tenth of it. */
  otherIp: boolean;
  /** Those of our virtio-serial ports that the guest has. */
  ports: readonly string[];
}

const FACTS = `
IFS= read -r kernel </proc/sys/kernel/osrelease && printf 'kernel %s\\n' "$kernel"
# -D, as the modprobe of busybox knows no -n
if [ -e /sys/class/net/bonding_masters ] || modprobe -D bonding >/dev/null 2>&1; then echo bonding; fi
for tool in tc ethtool bridge; do if command -v "$tool" >/dev/null 2>&1; then printf 'tool %s\\n' "$tool"; fi; done
# by its path, as some busybox shells have an ip of their own
for found in /usr/sbin/ip /sbin/ip /usr/bin/ip /bin/ip /usr/local/sbin/ip /usr/local/bin/ip; do
  [ -x "$found" ] || continue
  case $("$found" -V 2>&1 </dev/null) in *iproute2*) echo 'tool ip' ;; *) echo 'other ip' ;; esac
  break
done
for port; do if [ -e "$port" ]; then printf 'port %s\\n' "$port"; fi; done
exit 0
`;

/** Asks a guest what it has, of the devices `ports` among others. */
export async function guestFacts(
  shell: GuestShell,
  ports: readonly string[],
  signal: AbortSignal,
): Promise<GuestFacts> {
  const { stdout } = await runScript(shell, FACTS, ports, { signal, check: true });
  const lines = stdout.split('\n');
  const has = (tool: string) => lines.includes(`tool ${tool}`);
  return {
    kernel: lines.find((line) => line.startsWith('kernel '))?.slice('kernel '.length) ?? 'unknown',
    bonding: lines.includes('bonding'),
    tools: { ip: has('ip'), tc: has('tc'), ethtool: has('ethtool'), bridge: has('bridge') },
    otherIp: lines.includes('other ip'),
    ports: ports.filter((port) => lines.includes(`port ${port}`)),
  };
}

/** @throws GUEST_LACKS where nothing can be captured or replayed, as there is no iproute2 */
export function requireIproute2({ tools, otherIp }: Pick<GuestFacts, 'tools' | 'otherIp'>): void {
  if (tools.ip) return;
  const how = otherIp
    ? 'Its ip is not iproute2\'s but another, such as busybox\'s, which knows too little. Install iproute2 and ethtool there (on Alpine: "apk add iproute2 ethtool").'
    : 'Install iproute2 there, and ethtool with it.';
  throw new ShadowferryError('GUEST_LACKS', { what: 'iproute2', how });
}

/**
 * Puts the program and its plans into the guest in one exchange, loads the drivers it will need (so that no module is
 * loaded while traffic waits) and starts it; it detaches itself from the shell.
 */
export async function installProgram(
  shell: GuestShell,
  options: { dir: string; files: readonly GuestFile[]; modules: readonly string[]; signal: AbortSignal },
): Promise<void> {
  const { dir, files, modules, signal } = options;
  const directories = [...new Set(files.map((file) => file.path.slice(0, file.path.lastIndexOf('/'))))];
  const script = [
    'set -e',
    'umask 077',
    shellCommand(['rm', '-rf', dir]),
    shellCommand(['mkdir', '-p', ...directories]),
    ...files.map((file) => `printf %s ${shellQuote(file.text)} > ${shellQuote(file.path)}`),
    // a driver that is built in, or has another name there, is no failure
    ...modules.map((module) => `${shellCommand(['modprobe', '-b', module])} 2>/dev/null || :`),
    shellCommand(['/bin/sh', `${dir}/program.sh`, dir]),
    '',
  ].join('\n');
  await runScript(shell, script, [], { signal, check: true });
}

/** Does again what could not be done before another NIC was there; see `againScript`. What fails, fails again. */
export async function replayAgain(
  shell: GuestShell,
  plan: Pick<ReplayPlan, 'sets'>,
  signal: AbortSignal,
): Promise<void> {
  const script = againScript(plan);
  if (script !== '') await runScript(shell, script, [], { signal, check: false });
}

/**
 * The program is ended from outside, as it may not hear the host. What it removes itself at the same moment, and `rm`
 * then finds half gone, is tried again.
 */
const REMOVE = `
if [ -r "$1/program.sh" ]; then /bin/sh "$1/program.sh" "$1" end; fi
n=0
while rm -rf "$1"; [ -e "$1" ] && [ $n -lt 40 ]; do
  n=$((n + 1))
  sleep 0.05 || sleep 1
done
[ ! -e "$1" ]
`;

/**
 * Ends the program, if it still runs, and removes what `installProgram` left. Who can tell it over the channel to
 * stop does so before, as it then finishes what it is about.
 * @throws ShadowferryError GUEST_COMMAND_FAILED when it cannot be removed, and those of the agent.
 */
export async function removeProgram(shell: GuestShell, dir: string, signal: AbortSignal): Promise<void> {
  await runScript(shell, REMOVE, [dir], { signal, check: true });
}
