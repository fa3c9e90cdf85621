/** What tests with distribution guests share. */
import { findProgram } from '../../src/base/find-program.ts';
import { needsNetworkRights } from './rights.ts';

/** Programs without which there are no such guests; the bootstrap installs them. */
const TOOLS = ['mmdebstrap', 'mke2fs', 'qemu-img', 'dnsmasq'];

/** Options of a `describe` that needs guests from a distribution; skipped with the reason where they cannot be. */
export function needsDistroTools(): { skip: string | false } {
  const missing = TOOLS.filter((tool) => findProgram(tool) === undefined);
  if (missing.length > 0) return { skip: `needs ${missing.join(', ')}` };
  return needsNetworkRights();
}
