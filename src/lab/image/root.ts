/** The guest's root directory as a list of archive entries: Debian's part plus the guest's own files. */
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CpioEntry } from './cpio.ts';
import { APPLETS_LEFT_OUT, KMOD_NAMES, PROGRAMS } from './recipe.ts';
import { patternBlock } from './services.ts';

/** A file that the lab adds to the guest. */
export interface GuestFile {
  path: string;
  mode: number;
  content: Uint8Array;
}

/** The lab's own files in the guest: name beside this code, place in the guest. */
const OWN_FILES = [
  ['rc', 'usr/lib/shadowferry/rc', 0o755],
  ['port', 'usr/lib/shadowferry/port', 0o755],
  ['sink', 'usr/lib/shadowferry/sink', 0o755],
  ['source', 'usr/lib/shadowferry/source', 0o755],
  ['announce', 'usr/lib/shadowferry/announce', 0o755],
  ['shutdown', 'usr/bin/shutdown', 0o755],
  ['inittab', 'etc/inittab', 0o644],
  ['mdev.conf', 'etc/mdev.conf', 0o644],
  ['modprobe.conf', 'etc/modprobe.d/shadowferry.conf', 0o644],
] as const;

const EMPTY_DIRECTORIES = ['dev', 'dev/pts', 'proc', 'sys', 'run', 'tmp', 'root', 'mnt', 'var'] as const;

/** Merged /usr, as in Debian, so that every program and library has one place; and links that programs expect. */
const LINKS = [
  ['init', 'usr/bin/busybox'],
  // dash, as in Debian: busybox's own shell prefers its applets to programs, its `ip` to iproute2's
  ['usr/bin/sh', 'dash'],
  ['bin', 'usr/bin'],
  ['sbin', 'usr/bin'],
  ['lib', 'usr/lib'],
  ['lib64', 'usr/lib/x86_64-linux-gnu'],
  ['usr/sbin', 'bin'],
  ['var/run', '../run'],
  ['var/tmp', '../tmp'],
  ['etc/mtab', '../proc/mounts'],
] as const;

/** Names that must not be taken by an applet of busybox. */
const TAKEN: ReadonlySet<string> = new Set([...PROGRAMS, ...APPLETS_LEFT_OUT]);

const text = (value: string) => Buffer.from(value, 'utf8');

/** Reads the lab's own guest files; small, so their content decides the image's identity. */
export async function guestFiles(): Promise<GuestFile[]> {
  const source = join(import.meta.dirname, 'guest');
  const own = OWN_FILES.map(async ([name, path, mode]) => {
    return { path, mode, content: await readFile(join(source, name)) };
  });
  return [
    ...(await Promise.all(own)),
    { path: 'etc/hostname', mode: 0o644, content: text('guest\n') },
    { path: 'etc/passwd', mode: 0o644, content: text('root:x:0:0:root:/root:/bin/sh\n') },
    { path: 'etc/group', mode: 0o644, content: text('root:x:0:\n') },
    { path: 'etc/hosts', mode: 0o644, content: text('127.0.0.1 localhost\n::1 localhost\n') },
    { path: 'usr/share/shadowferry/pattern', mode: 0o644, content: patternBlock() },
  ];
}

/** The entries that do not come from packages: directories, links, device nodes and the lab's own files. */
export function ownEntries(applets: readonly string[], files: readonly GuestFile[]): CpioEntry[] {
  return [
    ...EMPTY_DIRECTORIES.map(
      (path): CpioEntry => ({ type: 'directory', path, mode: path === 'tmp' ? 0o1777 : 0o755 }),
    ),
    ...applets
      .filter((name) => !TAKEN.has(name))
      .map((name): CpioEntry => ({ type: 'link', path: `usr/bin/${name}`, target: 'busybox' })),
    ...KMOD_NAMES.map((name): CpioEntry => ({ type: 'link', path: `usr/bin/${name}`, target: 'kmod' })),
    ...LINKS.map(([path, target]): CpioEntry => ({ type: 'link', path, target })),
    ...files.map((file): CpioEntry => ({ type: 'file', ...file })),
    // The kernel opens the console before anything is mounted on /dev.
    { type: 'node', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { type: 'node', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
  ];
}

/** Adds the directories that entries are in, and sorts: parents first, and equal input gives an equal archive. */
export function completeTree(entries: readonly CpioEntry[]): CpioEntry[] {
  const byPath = new Map<string, CpioEntry>();
  for (const entry of entries) {
    const parts = entry.path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const path = parts.slice(0, depth).join('/');
      if (!byPath.has(path)) byPath.set(path, { type: 'directory', path });
    }
    byPath.set(entry.path, entry);
  }
  return [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** The entries of a directory on this machine, as they are. */
export async function treeEntries(root: string): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const found of await readdir(root, { recursive: true, withFileTypes: true })) {
    const full = join(found.parentPath, found.name);
    const path = full.slice(root.length + 1);
    if (found.isDirectory()) {
      entries.push({ type: 'directory', path });
    } else if (found.isSymbolicLink()) {
      entries.push({ type: 'link', path, target: await readlink(full) });
    } else {
      const { mode } = await stat(full);
      entries.push({ type: 'file', path, mode: mode & 0o777, content: await readFile(full) });
    }
  }
  return entries;
}
