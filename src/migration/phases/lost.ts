/** What ends a wait for a destination that will not answer any more. */
import { ShadowferryError } from '../../errors.ts';
import type { Incoming } from '../destination/destination.ts';

/** Rejects with MIGRATION_FAILED when the destination's QEMU is gone; never resolves, and may be left alone. */
export function destinationLost({ gone }: Pick<Incoming, 'gone'>): Promise<never> {
  const lost = gone.then((reason): never => {
    throw new ShadowferryError('MIGRATION_FAILED', { why: `the destination's QEMU is gone (${reason})` });
  });
  lost.catch(() => {}); // it may be gone before anybody waits for it
  return lost;
}
