/** Images of Debian as people have it: root disk, kernel and first step of the boot, built once and kept by content. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { exec } from '../../../base/exec.ts';
import { findProgram } from '../../../base/find-program.ts';
import { ShadowferryError } from '../../../errors.ts';
import { type Base, ensureBase } from '../base.ts';
import { buildDirectory, makeDirectory, publish } from '../cache.ts';
import type { EnsureOptions, GuestImage } from '../image.ts';
import { plainKernel } from '../kernel.ts';
import { patternBlock } from '../services.ts';
import { distroInitrd } from './initrd.ts';
import {
  BOOT_MODULES,
  DISTRO_BUILDER_VERSION,
  distroPackages,
  LEFT_OUT,
  MASKED_UNITS,
  ROOT_SIZE,
  type Suite,
} from './recipe.ts';
import { debianSources } from './sources.ts';

export interface DistroImage extends GuestImage {
  suite: Suite;
  /** The root disk, raw ext4; guests write to overlays of it. */
  disk: string;
}

/** The lab's own files in the guest: name beside this code, place in the guest, mode. */
const OWN_FILES = [
  ['guest/echo.service', 'etc/systemd/system/shadowferry-echo.service', 0o644],
  ['guest/sink.service', 'etc/systemd/system/shadowferry-sink.service', 0o644],
  ['guest/source.service', 'etc/systemd/system/shadowferry-source.service', 0o644],
  ['guest/iperf3.service', 'etc/systemd/system/shadowferry-iperf3.service', 0o644],
  ['guest/ready.service', 'etc/systemd/system/shadowferry-ready.service', 0o644],
  ['guest/announce', 'usr/lib/shadowferry/announce', 0o755],
  ['../guest/sink', 'usr/lib/shadowferry/sink', 0o755],
  ['../guest/source', 'usr/lib/shadowferry/source', 0o755],
] as const;

const WANTED = OWN_FILES.map(([, path]) => path.split('/').at(-1) ?? '').filter((n) =>
  n.endsWith('.service'),
);

const Manifest = z.object({ kernelVersion: z.string() });

interface OwnFile {
  path: string;
  mode: number;
  content: Uint8Array;
}

async function ownFiles(): Promise<OwnFile[]> {
  const files = OWN_FILES.map(async ([name, path, mode]) => {
    return { path, mode, content: await readFile(join(import.meta.dirname, name)) };
  });
  const pattern = { path: 'usr/share/shadowferry/pattern', mode: 0o644, content: patternBlock() };
  return [...(await Promise.all(files)), pattern];
}

const CUSTOMIZE = join(import.meta.dirname, 'customize.sh');
const INIT = join(import.meta.dirname, 'guest/init');

async function imageId(suite: Suite, own: readonly OwnFile[]): Promise<string> {
  const recipe = [
    DISTRO_BUILDER_VERSION,
    suite,
    distroPackages(suite),
    LEFT_OUT,
    BOOT_MODULES,
    MASKED_UNITS,
    ROOT_SIZE,
  ];
  const hash = createHash('sha256').update(JSON.stringify(recipe));
  for (const { path, mode, content } of own)
    hash.update(JSON.stringify([path, mode, content.length])).update(content);
  for (const file of [CUSTOMIZE, INIT]) hash.update(await readFile(file));
  return hash.digest('hex').slice(0, 16);
}

async function openImage(directory: string, suite: Suite, id: string): Promise<DistroImage | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, 'manifest.json'), 'utf8');
  } catch {
    return undefined;
  }
  return {
    id,
    suite,
    kernel: join(directory, 'vmlinux'),
    initrd: join(directory, 'initrd.cpio'),
    disk: join(directory, 'root.ext4'),
    kernelVersion: Manifest.parse(JSON.parse(text)).kernelVersion,
  };
}

/**
 * The image of one Debian release: from the cache, or built from the archive in apt's sources of this machine, which
 * takes a minute or two. Safe to call from several processes at once.
 * @throws ShadowferryError TOOL_MISSING without mmdebstrap, mke2fs or a Debian archive; COMMAND_FAILED with a tool's
 * own words.
 */
export async function ensureDistroImage(suite: Suite, options: EnsureOptions): Promise<DistroImage> {
  const { cacheDir, log, signal } = options;
  const own = await ownFiles();
  const id = await imageId(suite, own);
  const images = join(cacheDir, 'distro-image', suite);
  const target = join(images, id);
  const cached = await openImage(target, suite, id);
  if (cached) return cached;
  const base = await ensureBase({ cacheDir: join(cacheDir, 'guest-image'), log, signal });
  await makeDirectory(images);
  const work = await buildDirectory(images);
  try {
    log(`building a guest from Debian ${suite}; once, it takes a minute or two`);
    await build(work, suite, own, base, signal);
    await publish(join(work, 'result'), target);
    // half a gigabyte each: those of older recipes go
    for (const name of await readdir(images)) {
      if (name !== id && !name.startsWith('.'))
        await rm(join(images, name), { recursive: true, force: true });
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const built = await openImage(target, suite, id);
  if (!built) throw new ShadowferryError('INTERNAL', { why: `${target} has no manifest after its build` });
  return built;
}

async function writeOwnFiles(directory: string, files: readonly OwnFile[]): Promise<void> {
  for (const { path, mode, content } of files) {
    const file = join(directory, path);
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    await writeFile(file, content, { mode });
  }
}

async function build(
  work: string,
  suite: Suite,
  own: readonly OwnFile[],
  base: Base,
  signal: AbortSignal | undefined,
): Promise<void> {
  const files = join(work, 'files');
  const result = join(work, 'result');
  await mkdir(result);
  await writeOwnFiles(files, own);
  const aborting = signal === undefined ? {} : { signal };
  const sources = await debianSources(suite, signal);
  const argv: [string, ...string[]] = [
    'mmdebstrap',
    '--variant=essential',
    '--format=null',
    '--aptopt=APT::Install-Recommends "false"',
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--include=${distroPackages(suite).join(',')}`,
    `--customize-hook=${CUSTOMIZE}`,
    suite,
    '-',
  ];
  await exec(['nice', ...argv], {
    input: sources,
    env: {
      ...process.env,
      LC_ALL: 'C',
      INITRD: 'No', // the kernel's own word for: make no initramfs, which takes long and is not used
      WORK: work,
      FILES: files,
      UNITS: MASKED_UNITS.join(' '),
      WANTED: WANTED.join(' '),
      SIZE: ROOT_SIZE,
    },
    ...aborting,
  });
  const kernelVersion = (await readdir(join(work, 'modules')))[0];
  if (!kernelVersion) throw new ShadowferryError('INTERNAL', { why: 'the kernel package holds no modules' });
  const busybox = join(base.root, 'usr/bin/busybox');
  const compressed = await readFile(join(work, 'boot', `vmlinuz-${kernelVersion}`));
  // a kernel that unpacks itself boots too, later
  const kernel =
    findProgram('xz') === undefined
      ? compressed
      : await plainKernel(compressed, async (packed) => {
          await writeFile(join(work, 'kernel.xz'), packed);
          await exec(['xz', '--decompress', '--single-stream', join(work, 'kernel.xz')], aborting);
          return readFile(join(work, 'kernel'));
        });
  await writeFile(join(result, 'vmlinux'), kernel);
  const modules = join(work, 'modules', kernelVersion);
  const initrd = await distroInitrd({ busybox, modules, init: await readFile(INIT) });
  await writeFile(join(result, 'initrd.cpio'), initrd);
  await rename(join(work, 'root.ext4'), join(result, 'root.ext4'));
  await writeFile(join(result, 'manifest.json'), `${JSON.stringify({ kernelVersion })}\n`);
}
