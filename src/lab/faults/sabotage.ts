/** Mistakes that a migration could make, made on purpose from outside: each must make the verdict "lost". */
import { ShadowferryError } from '../../errors.ts';
import { cont } from '../../hypervisor/qmp/commands.ts';
import type { Injected, Scene } from './inject.ts';

const NOTHING_TO_MEND: Injected = { mend: 'at-once', lift: async () => {} };

/** Lets the source's copy run again, as a source would that takes the VM back after the commit. */
export async function runTwice({ gate, vm, source }: Scene): Promise<Injected> {
  const old = gate.qemus(source).find((each) => each.vm === vm);
  if (old?.monitor === undefined)
    throw new ShadowferryError('INTERNAL', { why: `there is no copy on ${source} any more` });
  await cont(old.monitor);
  return NOTHING_TO_MEND;
}

/** Leaves a tap on the source. */
export async function leaveTap({ lab, source }: Scene): Promise<Injected> {
  await lab.network.addTap(source, 'sfd00000000');
  return NOTHING_TO_MEND;
}
