/**
 * QEMUs of other versions than the machine's own, from Debian's backports: unpacked into a tree in the cache, never
 * installed. They run with the loader and the libraries of their tree, so the machine's own do not matter.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';
import { downloadPackages } from '../image/apt.ts';
import { buildDirectory, makeDirectory, publish } from '../image/cache.ts';
import { archiveOf } from '../image/distro/sources.ts';
import type { EnsureOptions } from '../image/image.ts';
import type { PackageVersion } from '../image/resolve.ts';
import { LIBRARY_DIRECTORY, LOADER, stagedProgram, unpackStage } from '../image/stage.ts';

/** Which QEMU, by the Debian release whose backports have it. */
export const QEMU_TREES = { '10': 'bookworm', '11': 'trixie' } as const;
export type QemuTreeName = keyof typeof QEMU_TREES;

export interface QemuTree {
  name: QemuTreeName;
  /** Path to start it by, like any other QEMU; it says its version as the installed one does. */
  binary: string;
  /** Debian's version of the package, e.g. `1:10.0.2+ds-2+deb13u1~bpo12+1`. */
  version: string;
}

/** Grows when the way a tree is put together changes. */
const BUILDER_VERSION = 1;
const PACKAGE = 'qemu-system-x86';
const PROGRAM = 'qemu-system-x86_64';
/** Where QEMU looks for modules that it does not find at QEMU_MODULE_DIR. */
const MODULE_DIRECTORY = `/${LIBRARY_DIRECTORY}/qemu`;
/** Directories with firmware. */
const DATA = ['usr/share/qemu', 'usr/share/seabios', 'usr/lib/ipxe/qemu'] as const;

const Manifest = z.object({ version: z.string() });

/** The packages of a closure that hold a part of the running QEMU; the others configure a system. */
function partsOfQemu(closure: readonly PackageVersion[]): PackageVersion[] {
  return closure.filter(
    ({ name }) => /^(lib|zlib|qemu-system-)/.test(name) || name === 'seabios' || name === 'ipxe-qemu',
  );
}

/** `exec`, so that the process is QEMU itself: whoever ends it by its pid ends no shell. */
function startProgram(): string {
  const libraries = `$tree/${LIBRARY_DIRECTORY}`;
  const data = DATA.map((directory) => `-L "$tree/${directory}"`).join(' ');
  return `#!/bin/sh
case $0 in
  */*) tree=\${0%/*}/root ;;
  *) tree=root ;;
esac
QEMU_MODULE_DIR=${libraries}/qemu
export QEMU_MODULE_DIR
exec "${libraries}/${LOADER}" --inhibit-cache --library-path "${libraries}" "$tree/usr/bin/${PROGRAM}" ${data} "$@"
`;
}

async function openTree(name: QemuTreeName, directory: string): Promise<QemuTree | undefined> {
  try {
    const { version } = Manifest.parse(JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')));
    return { name, binary: join(directory, PROGRAM), version };
  } catch {
    return undefined; // not built yet: the manifest is written last
  }
}

/**
 * Takes the machine's own module directory out of the tree's program: modules that are not in the tree (of displays)
 * would be loaded from there, and those of another version end QEMU.
 */
async function forgetMachinesModules(program: string): Promise<void> {
  const content = await readFile(program);
  const known = Buffer.from(`${MODULE_DIRECTORY}\0`);
  const none = Buffer.from(`${'/nonexistent'.padEnd(MODULE_DIRECTORY.length, '/')}\0`);
  for (let at = content.indexOf(known); at >= 0; at = content.indexOf(known, at)) none.copy(content, at);
  await writeFile(program, content);
}

async function build(work: string, suite: string, { log, signal }: EnsureOptions): Promise<void> {
  const packages = join(work, 'packages');
  const result = join(work, 'result');
  const release = `${suite}-backports`;
  const sources = join(work, 'sources.list');
  const archive = await archiveOf(signal);
  await writeFile(sources, [suite, release].map((from) => `deb ${archive} ${from} main\n`).join(''));
  const chosen = await downloadPackages([PACKAGE], partsOfQemu, packages, {
    ownLists: join(work, 'apt-lists'),
    sources: { file: sources, release },
    log,
    signal,
  });
  const stage = await unpackStage(packages, join(work, 'stage'), signal);
  await mkdir(result);
  for (const extra of ['usr/share/doc', 'usr/share/man', 'usr/share/locale'])
    await rm(join(stage.path, extra), { recursive: true, force: true });
  await forgetMachinesModules(await stagedProgram(stage, PROGRAM));
  await rename(stage.path, join(result, 'root'));
  const program = join(result, PROGRAM);
  await writeFile(program, startProgram(), { mode: 0o755 });
  // a tree that does not start, or does not find its modules, is none
  const help = [program, '-machine', 'none', '-accel', 'tcg', '-device', 'help'] as const;
  await exec(help, signal === undefined ? {} : { signal });
  const version = chosen.find(({ name }) => name === PACKAGE)?.version ?? '';
  await writeFile(join(result, 'manifest.json'), `${JSON.stringify({ version })}\n`);
}

/**
 * A QEMU of another version: from the cache, or made of Debian's packages (some 60 MB to fetch). Several processes may
 * call it at once.
 * @throws ShadowferryError TOOL_MISSING without apt, a Debian archive in its sources, or the package in it;
 * COMMAND_FAILED with a tool's own words
 */
export async function ensureQemuTree(name: QemuTreeName, options: EnsureOptions): Promise<QemuTree> {
  const suite = QEMU_TREES[name];
  const recipe = JSON.stringify([BUILDER_VERSION, suite, PACKAGE, startProgram()]);
  const id = createHash('sha256').update(recipe).digest('hex').slice(0, 16);
  const trees = join(options.cacheDir, 'qemu-tree');
  const target = join(trees, `${name}-${id}`);
  const cached = await openTree(name, target);
  if (cached) return cached;
  await makeDirectory(trees);
  const work = await buildDirectory(trees);
  try {
    options.log(`getting QEMU ${name} from Debian's ${suite}-backports into a tree of its own; once`);
    await build(work, suite, options);
    await publish(join(work, 'result'), target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const built = await openTree(name, target);
  if (!built) throw new ShadowferryError('INTERNAL', { why: `${target} has no manifest after its build` });
  return built;
}
