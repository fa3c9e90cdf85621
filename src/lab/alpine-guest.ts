/**
 * A guest as Alpine has it, for the lab: busybox is its init, its shell, its device manager, its ifupdown and its DHCP
 * client; iproute2, ethtool and the agent are installed in addition. It is the lab's own image with another shell, and a
 * disk for what is written to /etc/network, where real Alpine has its root or its overlay.
 */
import { appendFile, copyFile, mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../base/exec.ts';
import { type CpioEntry, cpioArchive } from './image/cpio.ts';
import { guestKernelArgs } from './image/kernel-args.ts';
import { completeTree } from './image/root.ts';
import type { GuestBoot, Lab } from './lab.ts';

const FILES = join(import.meta.dirname, 'image/alpine');
/** Under an emulator, with its lease, ms. */
const BOOT_MS = 120_000;
/** Archives after the first begin at multiples of this. */
const ALIGNMENT = 4;

async function entries(): Promise<CpioEntry[]> {
  return completeTree([
    { type: 'link', path: 'usr/bin/sh', target: 'busybox' },
    { type: 'directory', path: 'etc/network' },
    {
      type: 'file',
      path: 'etc/udhcpc/default.script',
      mode: 0o755,
      content: await readFile(join(FILES, 'default.script')),
    },
  ]);
}

/** The kernel unpacks archives one after the other: what comes later replaces what was there. */
async function initrd(lab: Lab): Promise<string> {
  const path = join(lab.directory, 'alpine-initrd.cpio');
  await copyFile(lab.image.initrd, path);
  const { size } = await stat(path);
  await truncate(path, Math.ceil(size / ALIGNMENT) * ALIGNMENT);
  for (const part of cpioArchive(await entries())) await appendFile(path, part);
  return path;
}

/**
 * Makes what `Lab.boot` needs to start it.
 * @param interfaces text of its /etc/network/interfaces
 * @throws ShadowferryError TOOL_MISSING without mke2fs
 */
export async function alpineGuest(lab: Lab, interfaces: string, name = 'web1'): Promise<GuestBoot> {
  const tree = join(lab.directory, `${name}-network`);
  for (const when of ['pre-up', 'up', 'down', 'post-down']) {
    await mkdir(join(tree, `if-${when}.d`), { recursive: true });
  }
  await writeFile(join(tree, 'interfaces'), interfaces);
  const path = join(lab.directory, `${name}-network.ext4`);
  await exec(['mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal', '-d', tree, path, '8M']);
  await rm(tree, { recursive: true });
  return {
    kernel: lab.image.kernel,
    initrd: await initrd(lab),
    append: guestKernelArgs(),
    setup: await readFile(join(FILES, 'setup'), 'utf8'),
    disks: [{ id: 'network', path, format: 'raw' }],
    bootMs: BOOT_MS,
  };
}
