import { readFileSync } from 'node:fs';
import { decideRights } from '../../src/lab/network/userns.ts';

/** The options of a test that builds networks: it is skipped, with the reason, where that is not allowed. */
export function needsNetworkRights(): { skip: string | false } {
  const { action } = decideRights(readFileSync('/proc/self/status', 'utf8'));
  return { skip: action === 'stay' ? false : 'needs root: CAP_NET_ADMIN and CAP_SYS_ADMIN' };
}
