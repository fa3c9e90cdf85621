/** What both hosts do for a VM's open connections while it has no device at all. */
import { reasonOf } from '../errors.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import { type Run, warn } from './run.ts';

/** Both hosts, as the network may find the VM's address behind either during a migration. */
function hostsOf(run: Run) {
  return [run.source.host, run.destination];
}

/**
 * Lets both hosts answer for the VM. It helps, and nothing depends on it: it runs beside what the migration waits for,
 * and a host that cannot only costs a warning.
 */
export function startAnswering(run: Run, shadow: NetShadow): void {
  const addresses = shadow.addresses.filter(({ scope }) => scope === 'global').map(({ local }) => local);
  if (addresses.length === 0) return;
  for (const host of hostsOf(run)) {
    host
      .answerUnreachable?.(run.source.qemu.spec.name, addresses)
      .catch((error: unknown) =>
        warn(run, `host ${host.name} does not answer for the absent VM: ${reasonOf(error)}`),
      );
  }
}

/** The VM is back: its packets may pass. Safe to repeat. */
export async function stopAnswering(run: Run): Promise<void> {
  await Promise.all(hostsOf(run).map((host) => host.answerUnreachable?.(run.source.qemu.spec.name, [])));
}
