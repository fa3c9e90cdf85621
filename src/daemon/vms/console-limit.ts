/** A guest may write to its console without end: its file on the host does not grow without end. */
import { closeSync, fstatSync, ftruncateSync, lstatSync, openSync, readSync, writeSync } from 'node:fs';
import type { Logger } from 'pino';
import { reasonOf } from '../../errors.ts';
import { vmPaths } from '../../hypervisor/qemu/spec.ts';
import type { VmRegistry } from './registry.ts';

/** A file that is larger is cut to its end. */
const MOST_BYTES = 16 * 1024 ** 2;
const KEPT_BYTES = 1024 ** 2;
/** A serial line under emulation writes some MiB in this time at most. */
const EVERY_MS = 15_000;

/**
 * Cuts a file that QEMU appends to, if it is too large, and says in it how much is gone. What the guest writes in that
 * very moment may stand before that line.
 * @returns bytes that are gone
 */
export function cutConsole(path: string, mostBytes = MOST_BYTES, keptBytes = KEPT_BYTES): number {
  // that of an adopted VM is a link to a file that is not ours
  if (!lstatSync(path, { throwIfNoEntry: false })?.isFile()) return 0;
  const file = openSync(path, 'r+');
  try {
    const { size } = fstatSync(file);
    if (size <= mostBytes) return 0;
    const tail = Buffer.alloc(keptBytes);
    const read = readSync(file, tail, 0, keptBytes, size - keptBytes);
    ftruncateSync(file, 0);
    const appending = openSync(path, 'a');
    try {
      writeSync(appending, `\n[shadowferry: ${size - read} bytes before this were cut]\n`);
      writeSync(appending, tail, 0, read);
    } finally {
      closeSync(appending);
    }
    return size - read;
  } finally {
    closeSync(file);
  }
}

/** Looks at the consoles of this host's VMs until it is stopped. @returns what stops it */
export function limitConsoles(registry: VmRegistry, log: Pick<Logger, 'warn'>): () => void {
  const look = () => {
    for (const { name, state } of registry.list()) {
      if (state !== 'running') continue;
      try {
        const cut = cutConsole(vmPaths(registry.host.vmDirectory(name)).serial);
        if (cut > 0) log.warn({ vm: name, bytes: cut }, 'the console of a VM was too large and was cut');
      } catch (error) {
        log.warn({ vm: name, why: reasonOf(error) }, 'the console of a VM cannot be cut');
      }
    }
  };
  const timer = setInterval(look, EVERY_MS).unref();
  return () => clearInterval(timer);
}
