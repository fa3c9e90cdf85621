/** One command at a time drives a VM: QEMU serves one client, and a second one would wait for the first unseen. */
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { identify, isAlive } from '../base/process.ts';
import { ShadowferryError } from '../errors.ts';

const Holder = z.object({ pid: z.number().int(), startTicks: z.string() });

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
export function lockVm(directory: string, vm: string): Disposable {
  const file = lockFile(directory, vm);
  const whole = `${file}.${process.pid}`;
  writeFileSync(whole, JSON.stringify(identify(process.pid)), { mode: 0o600 });
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
