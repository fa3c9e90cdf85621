/** The destination plugs its devices into the same PCI slots; the programs in the guest do the rest by themselves. */
import { together } from '../../base/together.ts';
import { reasonOf, type ShadowferryError, toShadowferryError } from '../../errors.ts';
import { replayAgain } from '../../shadow/net/guest.ts';
import { attachWithRetries } from '../plug.ts';
import { moveOf, nicMark, nicStep, step, waitAfter, warn } from '../run.ts';
import type { Attached, Replayed, StagedNic } from './destination.ts';
import type { IncomingRun } from './local-incoming.ts';

function attachNic(run: IncomingRun, staged: StagedNic, onCarrier: () => void): Promise<Replayed> {
  const { vm, log, order } = run;
  const move = moveOf(order, staged.nic);
  const { nic, target } = move;
  const { attachMs: waitMs, attachTries: tries } = order.limits;
  const { continuity } = staged.plan;
  return nicStep(log, move, 'attach', 'plug and replay', { critical: continuity !== 'bridge' }, () =>
    attachWithRetries({
      vm,
      nic,
      model: target.model,
      continuity,
      waitMs,
      tries,
      mark: (name, at) => nicMark(log, move, name, at),
      onRetry: (reason) => warn(log, order.nics.length > 1 ? `${nic.id}: ${reason}` : reason),
      onCarrier,
    }),
  );
}

/**
 * The first device to come may have missed what leans on another. Only where something failed.
 */
async function replayOnEachOther(
  { vm, log, order, staged }: IncomingRun,
  replayed: ReadonlyMap<string, Replayed>,
): Promise<void> {
  const missed = staged.filter(({ nic }) =>
    replayed.get(nic)?.results.some(({ set }) => (set ?? 'attach') === 'attach'),
  );
  if (staged.length === 1 || missed.length === 0) return;
  await step(log, 'attach', 'replay what leans on another NIC', {}, async () => {
    const signal = waitAfter('the guest agent on the destination', order.limits.agentMs * staged.length);
    await vm.agent.waitReady({ signal });
    for (const { plan } of missed) await replayAgain(vm.agent, plan, signal);
  });
}

/** Attaches every NIC's device, those first that traffic waits for. One that fails keeps no other away. */
export async function attachAll(run: IncomingRun, onCarrier: (nic: string) => void): Promise<Attached> {
  const replayed = new Map<string, Replayed>();
  const failed = new Map<string, ShadowferryError>();
  const bridged = ({ plan }: StagedNic) => plan.continuity === 'bridge';
  for (const wave of [run.staged.filter((nic) => !bridged(nic)), run.staged.filter(bridged)]) {
    await together(wave, async (staged) => {
      try {
        replayed.set(staged.nic, await attachNic(run, staged, () => onCarrier(staged.nic)));
      } catch (error) {
        failed.set(staged.nic, toShadowferryError(error));
      }
    });
  }
  await replayOnEachOther(run, replayed).catch((error: unknown) =>
    warn(run.log, `what leans on another NIC was not replayed once more: ${reasonOf(error)}`),
  );
  return { replayed, failed };
}
