/**
 * What was made of an interface is there after the guest's next boot too: `persist.sh` says what the guest has, and puts
 * the files of `persist-files.ts` there, all of them or none.
 */
import { readFileSync } from 'node:fs';
import { shellCommand } from '../../../base/shell-quote.ts';
import type { GuestShell } from '../../../guest/shell.ts';
import type { NetShadow } from '../model.ts';
import { persistFiles, persistPaths } from './persist-files.ts';
import type { GuestText, PersistFacts, Persisting } from './persist-model.ts';

/** What became of it. */
export interface Persisted {
  /** Files that were written, by their paths in the guest. */
  files: string[];
  /** What could not be done; then nothing was written. */
  problems: string[];
  notes: string[];
}

/** Longest time that reading or writing may take in the guest, ms. */
export const PERSIST_MS = 30_000;

/** Longest list of lines that is looked at: the guest is not trusted. */
const MOST_LINES = 4000;

/** `persist.sh` and calls of its functions, as the text of one script. */
export function persistScript(calls: readonly (readonly [string, ...string[]])[]): string {
  const functions = readFileSync(new URL('./persist.sh', import.meta.url), 'utf8');
  return `${functions}\n${calls.map((call) => shellCommand(call)).join('\n')}\n`;
}

/** The call that tells what a guest has. */
export function factsCall({ link, hardware, standby, standIn }: NetShadow): readonly [string, ...string[]] {
  const member = standIn.kind === 'bond' ? (hardware?.name ?? '') : '';
  return ['facts', link.name, link.mac, hardware?.pciPath ?? '', standby?.pciPath ?? '', member];
}

/** The calls that write files in the place of those of an earlier time. Pure. */
export function writeCalls({ files }: Persisting, tag: string): (readonly [string, ...string[]])[] {
  const all = persistPaths(tag);
  const written = new Set(files.map(({ path }) => path));
  return [
    ...files.map(({ path }) => ['check', path] as const),
    ...all.map((path) =>
      written.has(path) ? (['keep', path, 'written'] as const) : (['keep', path] as const),
    ),
    ...files.map(({ path, mode, text }) => ['put', path, mode, text] as const),
    ...all.filter((path) => !written.has(path)).map((path) => ['drop', path] as const),
    ['finish', ...all],
  ];
}

/** The call that removes every file of a NIC, and puts back what was kept. Pure. */
export const removeCall = (tag: string): readonly [string, ...string[]] => ['restore', ...persistPaths(tag)];

/** Parses the words of `facts`; what is not known is a problem. Pure. */
export function parsePersistFacts(text: string): PersistFacts & { problems: string[] } {
  const values = new Map<string, string>();
  const lines = new Map<string, string[]>();
  const problems: string[] = [];
  for (const line of text.split('\n').slice(0, MOST_LINES)) {
    const at = line.indexOf(' ');
    const [key, value] = at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
    if (line === '') continue;
    if (TEXTS.has(key)) lines.set(key, [...(lines.get(key) ?? []), value]);
    else if (VALUES.has(key)) values.set(key, value);
    else if (key === 'problem') problems.push(value.slice(0, 400));
    else problems.push(`the guest said: ${line.slice(0, 200)}`);
  }
  if (!values.has('end')) problems.push('the guest did not say all that it has');
  const mac = (key: string) => {
    const value = values.get(key);
    return value !== undefined && MAC.test(value) ? value : undefined;
  };
  const read = (key: string): GuestText | undefined => {
    const path = values.get(`${key}-path`);
    return path === undefined ? undefined : { path, lines: lines.get(key) ?? [] };
  };
  return {
    udev: values.has('udev'),
    systemd: values.has('systemd'),
    directMac: mac('direct-mac'),
    standbyMac: mac('standby-mac'),
    network: read('network'),
    member: read('member'),
    link: read('link'),
    profile: read('profile'),
    networkManager: /^(true|1)$/.test(values.get('networkmanager') ?? ''),
    ifupdown: values.has('ifupdown'),
    interfaces: lines.get('interfaces') ?? [],
    problems,
  };
}

const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;
const TEXTS = new Set(['network', 'member', 'link', 'profile', 'interfaces']);
const VALUES = new Set([
  ...['udev', 'systemd', 'direct-mac', 'standby-mac', 'network-path', 'member-path'],
  ...['link-path', 'profile-path'],
  ...['networkmanager', 'ifupdown', 'end'],
]);

function parseWritten(text: string): Persisted {
  const files: string[] = [];
  const problems: string[] = [];
  for (const line of text.split('\n').slice(0, MOST_LINES)) {
    if (line.startsWith('file ')) files.push(line.slice('file '.length));
    else if (line.startsWith('problem ')) problems.push(line.slice('problem '.length, 400));
  }
  return { files: problems.length === 0 ? files : [], problems, notes: [] };
}

async function run(
  shell: GuestShell,
  calls: readonly (readonly [string, ...string[]])[],
  signal: AbortSignal,
): Promise<string> {
  const { stdout } = await shell.exec(['/bin/sh', '-s'], {
    input: persistScript(calls),
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    signal,
    check: true,
    timeoutMs: PERSIST_MS,
  });
  return stdout;
}

/**
 * Writes what makes the interface after a boot what it is now. What an earlier time has written for the NIC goes; what
 * is not ours is not touched.
 * @param options.shadow as it was captured last, with the device; `tag` is the NIC's id
 * @throws ShadowferryError those of the way into the guest
 */
export async function persistInterface(
  shell: GuestShell,
  options: { shadow: NetShadow; tag: string; signal: AbortSignal },
): Promise<Persisted> {
  const { shadow, tag, signal } = options;
  const { problems, ...facts } = parsePersistFacts(await run(shell, [factsCall(shadow)], signal));
  if (problems.length > 0) return { files: [], problems, notes: [] };
  const wanted = persistFiles(shadow, facts, tag);
  if (wanted.problems.length > 0) return { files: [], problems: wanted.problems, notes: wanted.notes };
  const written = parseWritten(await run(shell, writeCalls(wanted, tag), signal));
  return { ...written, notes: wanted.notes };
}

/**
 * Removes every file that was written for a NIC. Harmless where there is none, and when it is done twice.
 * @throws ShadowferryError those of the way into the guest
 */
export async function forgetPersisted(shell: GuestShell, tag: string, signal: AbortSignal): Promise<void> {
  await run(shell, [removeCall(tag)], signal);
}
