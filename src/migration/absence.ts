/** What both hosts do for the open connections of a NIC that has no device at all for now. */
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { Absent } from '../host/unreachable.ts';
import type { NetShadow } from '../shadow/net/model.ts';
import { type NicMove, type Run, warn } from './run.ts';

/** The two hosts, and the NIC. */
type Between = Pick<Run, 'source'> & {
  readonly destination: Pick<Run['destination'], 'name' | 'answerUnreachable'>;
};
type Moved = Pick<NicMove, 'nic'>;

const absent = (run: Between, { nic }: Moved): Absent => ({
  vm: run.source.qemu.spec.name,
  nic: nic.id,
  network: nic.network,
});

/** Both hosts, as the network may find the VM's address behind either during a migration. */
function hostsOf({ source: { host }, destination }: Between) {
  const here = async (...about: [Absent, readonly string[]]) => host.answerUnreachable?.(...about);
  return [{ name: host.name, answerUnreachable: here }, destination];
}

/**
 * Lets both hosts answer for the NIC. It helps, and nothing depends on it: it runs beside what the migration waits for,
 * and a host that cannot only costs a warning.
 */
export function startAnswering(run: Run, move: NicMove, shadow: NetShadow): void {
  const addresses = shadow.addresses.filter(({ scope }) => scope === 'global').map(({ local }) => local);
  if (addresses.length === 0) return;
  for (const host of hostsOf(run)) {
    host
      .answerUnreachable(absent(run, move), addresses)
      .catch((error: unknown) =>
        warn(run, `host ${host.name} does not answer for the absent ${move.nic.id}: ${reasonOf(error)}`),
      );
  }
}

/** The NIC is back: its packets may pass. Safe to repeat. */
export async function stopAnswering(run: Between, move: Moved): Promise<void> {
  await Promise.all(
    hostsOf(run).map((host) =>
      host.answerUnreachable(absent(run, move), []).catch((error: unknown) => {
        // another host stops by itself: when the device has come there, and when it takes back what it made
        if (!(error instanceof ShadowferryError && error.code === 'PEER_UNREACHABLE')) throw error;
      }),
    ),
  );
}
