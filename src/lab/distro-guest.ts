/** A guest as people have it, for the lab: a distribution's image, an overlay of its disk, and its first-boot setup. */
import { join } from 'node:path';
import { exec } from '../base/exec.ts';
import type { DistroImage } from './image/distro/image.ts';
import { distroKernelArgs } from './image/distro/kernel-args.ts';
import { type DistroSetup, distroSetup } from './image/distro/setup.ts';
import type { GuestBoot, Lab } from './lab.ts';

/** A full init under an emulator, on a loaded machine, ms. */
const BOOT_MS = 240_000;

/**
 * Makes what `Lab.boot` needs to start a distribution's guest; its disk is an overlay in the lab's directory, which
 * both hosts open, as they are one machine.
 * @throws ShadowferryError TOOL_MISSING without qemu-img.
 */
export async function distroGuest(
  lab: Lab,
  image: DistroImage,
  setup: DistroSetup,
  { name = 'web1', apparmor = false }: { name?: string; apparmor?: boolean } = {},
): Promise<GuestBoot> {
  const path = join(lab.directory, `${name}.qcow2`);
  await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', image.disk, path]);
  return {
    kernel: image.kernel,
    initrd: image.initrd,
    append: distroKernelArgs({ apparmor }),
    setup: distroSetup(setup),
    disks: [{ id: 'root', path, format: 'qcow2' }],
    bootMs: BOOT_MS,
  };
}
