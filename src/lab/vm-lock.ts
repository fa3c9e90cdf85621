/** One command at a time drives a VM: QEMU serves one client, and a second one would wait for the first unseen. */
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { identify, isAlive } from '../base/process.ts';
import { ShadowferryError } from '../errors.ts';

/** `look`: for a second or two, to see how the VM is; who wants the VM waits for it. `drive`: for as long as it takes. */
export type LockPurpose = 'look' | 'drive';

const Holder = z.object({
  pid: z.number().int(),
  startTicks: z.string(),
  purpose: z.enum(['look', 'drive']).default('drive'),
});

/** Longest wait for those who only look, ms. */
const LOOKS_MS = 30_000;
const AGAIN_MS = 50;

const lockFile = (directory: string, vm: string) => join(directory, `${vm}.lock`);

/** The process that drives the VM now; one that has died does not count. */
export function holderOf(directory: string, vm: string): z.infer<typeof Holder> | undefined {
  try {
    const holder = Holder.parse(JSON.parse(readFileSync(lockFile(directory, vm), 'utf8')));
    return isAlive(holder) ? holder : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Takes the lock of a VM, whose name must be known to be one; it ends with this process or by `Symbol.dispose`.
 * @throws MIGRATION_BUSY
 */
export function lockVm(directory: string, vm: string, purpose: LockPurpose = 'drive'): Disposable {
  const file = lockFile(directory, vm);
  const whole = `${file}.${process.pid}`;
  writeFileSync(whole, JSON.stringify({ ...identify(process.pid), purpose }), { mode: 0o600 });
  try {
    try {
      linkSync(whole, file);
    } catch (error) {
      // left by a process that died
      if (holderOf(directory, vm) !== undefined) throw error;
      rmSync(file, { force: true });
      linkSync(whole, file);
    }
  } catch (error) {
    const id = `by process ${holderOf(directory, vm)?.pid ?? 'unknown'}`;
    throw new ShadowferryError('MIGRATION_BUSY', { vm, id }, { cause: error });
  } finally {
    rmSync(whole, { force: true });
  }
  return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

/**
 * Takes the lock of a VM like `lockVm`, but waits for those who only look.
 * @throws MIGRATION_BUSY, or the signal's reason
 */
export async function lockVmSoon(
  directory: string,
  vm: string,
  purpose: LockPurpose,
  signal?: AbortSignal,
): Promise<Disposable> {
  const limit = performance.now() + LOOKS_MS;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return lockVm(directory, vm, purpose);
    } catch (error) {
      // gone already, or one that will be gone soon
      const holder = holderOf(directory, vm);
      if (holder?.purpose === 'drive' || performance.now() > limit) throw error;
    }
    await delay(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
  }
}
