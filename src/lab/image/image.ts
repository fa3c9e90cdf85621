/** The lab's guest image: a Debian kernel and a small initramfs, built once and kept by content. */
import { createHash } from 'node:crypto';
import { copyFile, link, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Base, ensureBase } from './base.ts';
import { buildDirectory, makeDirectory, publish, removeOlder } from './cache.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { BUILDER_VERSION } from './recipe.ts';
import { completeTree, guestFiles, ownEntries, treeEntries } from './root.ts';

/** Images of earlier guest files that stay: a machine that is starting may still need one. */
const IMAGES_KEPT = 4;

export interface GuestImage {
  /** Identity by content: package versions, guest files, builder. */
  id: string;
  /** Path of the kernel for QEMU's `-kernel`. */
  kernel: string;
  /** Path of the initial file system for QEMU's `-initrd`. */
  initrd: string;
  /** Version of the kernel, as `uname -r` says it. */
  kernelVersion: string;
}

export interface EnsureOptions {
  /** Directory that keeps downloads' results and images; made when absent. */
  cacheDir: string;
  /** Told in one line each what takes time. */
  log: (line: string) => void;
  signal?: AbortSignal;
}

function imageId(base: Base, own: readonly CpioEntry[]): string {
  const hash = createHash('sha256').update(JSON.stringify([BUILDER_VERSION, base.recipe, base.manifest]));
  for (const entry of own) {
    if (entry.type === 'file') {
      const { content, ...rest } = entry;
      hash.update(JSON.stringify({ ...rest, size: content.length })).update(content);
    } else hash.update(JSON.stringify(entry));
  }
  return hash.digest('hex').slice(0, 16);
}

async function isWhole(image: GuestImage): Promise<boolean> {
  try {
    const [kernel, initrd] = [await stat(image.kernel), await stat(image.initrd)];
    return kernel.size > 0 && initrd.size > 0;
  } catch {
    return false;
  }
}

/**
 * The guest image of this version of the lab: from the cache within milliseconds, or built from the machine's
 * Debian packages. Safe to call from several processes at once.
 * @throws ShadowferryError TOOL_MISSING without apt, dpkg or package lists; COMMAND_FAILED with a tool's own words.
 */
export async function ensureGuestImage(options: EnsureOptions): Promise<GuestImage> {
  const cacheDir = join(options.cacheDir, 'guest-image');
  const base = await ensureBase({ cacheDir, log: options.log, signal: options.signal });
  const own = ownEntries(base.manifest.applets, await guestFiles());
  const id = imageId(base, own);
  const images = join(cacheDir, 'images');
  const directory = join(images, id);
  const image: GuestImage = {
    id,
    kernel: join(directory, 'vmlinux'),
    initrd: join(directory, 'initrd.cpio'),
    kernelVersion: base.manifest.kernelVersion,
  };
  if (await isWhole(image)) return image;

  options.log(`putting guest image ${id} together`);
  await makeDirectory(images);
  const work = await buildDirectory(images);
  try {
    const result = join(work, 'result');
    await mkdir(result);
    const kernel = join(result, 'vmlinux');
    // one file for all images of this kernel, where the file system can
    await link(base.kernel, kernel).catch(() => copyFile(base.kernel, kernel));
    await writeInitrd(join(result, 'initrd.cpio'), base, own);
    await publish(result, directory);
    await removeOlder(images, IMAGES_KEPT);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return image;
}

async function writeInitrd(path: string, base: Base, own: readonly CpioEntry[]): Promise<void> {
  const entries = completeTree([...(await treeEntries(base.root)), ...own]);
  await writeFile(path, cpioArchive(entries), { flag: 'wx' });
}
