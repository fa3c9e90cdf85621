/** Attach: the destination gives the VM its devices. */
import { stopAnswering } from '../absence.ts';
import type { Attached, Incoming } from '../destination/destination.ts';
import { moveOf, type Run } from '../run.ts';

/** Lets the destination attach; both hosts stop answering for a NIC as soon as packets reach it. */
export function attach(run: Run, incoming: Incoming): Promise<Attached> {
  // and once more when all are there
  return incoming.attach((nic) => void stopAnswering(run, moveOf(run, nic)).catch(() => {}));
}
