/** Mistakes that a migration could make, made on purpose from outside: each must make the verdict "lost". */
import { setTimeout as delay } from 'node:timers/promises';
import { ShadowferryError } from '../../errors.ts';
import { cont } from '../../hypervisor/qmp/commands.ts';
import type { Injected, Scene } from './inject.ts';

const NOTHING_TO_MEND: Injected = { mend: 'at-once', lift: async () => {} };

/** Lets the source's copy run again, as a source would that takes the VM back after the commit. */
export async function runTwice({ gate, vm, source, signal }: Scene): Promise<Injected> {
  const old = gate.qemus(source).find((each) => each.vm === vm);
  if (old?.monitor === undefined)
    throw new ShadowferryError('INTERNAL', { why: `there is no copy on ${source} any more` });
  for (;;) {
    try {
      await cont(old.monitor);
      return NOTHING_TO_MEND;
    } catch (error) {
      // QEMU lets nobody do it while its own migration is not finished
      if (!(error instanceof ShadowferryError && error.code === 'QMP_REFUSED')) throw error;
      await delay(5, undefined, { signal });
    }
  }
}

/** Leaves a tap on the source. */
export async function leaveTap({ lab, source }: Scene): Promise<Injected> {
  await lab.network.addTap(source, 'sfd00000000');
  return NOTHING_TO_MEND;
}
