/** The watcher in the guest as the host sees it: its text, how it is started, and what it says. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { shellCommand, shellQuote } from '../../base/shell-quote.ts';
import { ShadowferryError } from '../../errors.ts';
import type { GuestShell } from '../../guest/shell.ts';
import { assignments } from '../net/compile.ts';

/** Directory of the watcher in the guest: one for all devices, and none of those that the replay programs have. */
export const WATCHER_DIRECTORY = '/run/shadowferry-watch';

const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

let text: string | undefined;

/** The watcher's text: one POSIX shell file, the same for every guest. */
export function watcherText(): string {
  text ??= readFileSync(new URL('./watcher.sh', import.meta.url), 'utf8');
  return text;
}

/** What tells a watcher of ours from one that another version of this program left behind. */
export function watcherVersion(): string {
  return createHash('sha256').update(watcherText()).digest('hex').slice(0, 16);
}

const LISTENERS = ['link', 'ip', 'tc', 'ethtool'] as const;

/** One line that the watcher sends. The guest is not trusted: everything is bounded. */
export const WatcherEvent = z.discriminatedUnion('e', [
  /** A host is connected, whoever it is. */
  z.object({
    e: z.literal('hello'),
    version: z.string().max(64),
    token: z.string().regex(/^[0-9a-f]{8,64}$/),
  }),
  /** Something may be another than it was; no more is said until `arm`. */
  z.object({ e: z.literal('changed') }),
  /** A device has no interface any more. */
  z.object({ e: z.literal('gone'), pci: z.string().max(32) }),
  /** `deaf`: those that should listen and do not run (any more). */
  z.object({ e: z.literal('pong'), n: z.number().int(), deaf: z.array(z.enum(LISTENERS)).max(8) }),
  z.object({ e: z.literal('stopped') }),
]);
export type WatcherEvent = z.infer<typeof WatcherEvent>;

/** Longest line that is looked at, in characters. */
export const MAX_WATCHER_LINE = 1024;

/** Parses one line of the watcher; undefined when it is not one of its events. */
export function parseWatcherEvent(line: string): WatcherEvent | undefined {
  if (line.length > MAX_WATCHER_LINE) return undefined;
  try {
    return WatcherEvent.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

export interface WatcherOptions {
  /** Device of the watcher's virtio-serial port in the guest. */
  port: string;
  /** PCI addresses in the guest of the devices that are told when they are gone. */
  devices: readonly string[];
}

/**
 * The script that puts the watcher into the guest and starts it, ending any earlier one; it detaches itself. Fails with
 * 3 when the guest has no such port, with 4 when it has no iproute2.
 */
export function startScript({ port, devices }: WatcherOptions): string {
  const token = randomBytes(4).toString('hex');
  const config = assignments({ port, token, version: watcherVersion(), devices: devices.join(' ') });
  const dir = WATCHER_DIRECTORY;
  return [
    'umask 077',
    `[ -e ${shellQuote(port)} ] || exit 3`,
    'command -v ip >/dev/null 2>&1 || exit 4',
    shellCommand(['rm', '-rf', dir]),
    `${shellCommand(['mkdir', '-p', dir])} || exit 1`,
    `printf %s ${shellQuote(watcherText())} >${shellQuote(`${dir}/watcher.sh`)} || exit 1`,
    `printf %s ${shellQuote(config)} >${shellQuote(`${dir}/config`)} || exit 1`,
    shellCommand(['/bin/sh', `${dir}/watcher.sh`, dir]),
    '',
  ].join('\n');
}

/**
 * Starts the watcher in the guest. That it runs is told by its hello on the port.
 * @returns `started`, or what the guest lacks
 * @throws ShadowferryError GUEST_COMMAND_FAILED, and what the way into the guest throws
 */
export async function startWatcher(
  shell: GuestShell,
  options: WatcherOptions,
  signal: AbortSignal,
): Promise<'started' | 'no port' | 'no iproute2'> {
  const { code, stderr, stdout } = await shell.exec(['/bin/sh', '-s'], {
    input: startScript(options),
    env: { PATH, LC_ALL: 'C' },
    signal,
  });
  if (code === 3) return 'no port';
  if (code === 4) return 'no iproute2';
  if (code === 0) return 'started';
  const command = 'the start of the watcher';
  throw new ShadowferryError('GUEST_COMMAND_FAILED', { command, code, stderr: (stderr || stdout).trim() });
}
