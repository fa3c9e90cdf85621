/** What came over is compared with the shadows, and the guest is cleaned of what moved it. */
import { together } from '../../base/together.ts';
import { reasonOf } from '../../errors.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { captureShadow, removeProgram } from '../../shadow/net/guest.ts';
import { GIVEBACK_MS } from '../../shadow/net/manager/manager.ts';
import type { NetShadow } from '../../shadow/net/model.ts';
import { verify } from '../../shadow/net/verify.ts';
import { wantedAfter } from '../../shadow/net/wanted.ts';
import { awaitManager, GIVING_BACK } from '../guest-manager.ts';
import { learn } from '../knowledge.ts';
import { persistNic, withoutDevice } from '../persist.ts';
import { keepShadow, moveOf, nicStep, programDirectory, waitAfter, warn } from '../run.ts';
import { channelOf, type RunningVm } from '../vm.ts';
import type { NicSettled, Replayed, StagedNic } from './destination.ts';
import type { IncomingRun } from './local-incoming.ts';

/** Stops the replay program of a NIC and removes it from the guest. */
export async function endProgram(vm: RunningVm, nic: string, waitMs: number): Promise<void> {
  const signal = waitAfter('the end of the program in the guest', waitMs);
  const channel = channelOf(vm, nic);
  const stopped = channel.waitFor((event) => event.e === 'stopped', signal);
  channel.send('stop');
  await stopped;
  await removeProgram(vm.agent, programDirectory(nic), signal);
}

async function settleNic(run: IncomingRun, staged: StagedNic, replayed: Replayed): Promise<NicSettled> {
  const { vm, order, log, stores } = run;
  const { nic, shadow, plan, manager } = staged;
  const move = moveOf(order, nic);
  const waitMs = order.limits.agentMs * order.nics.length;
  await nicStep(log, move, 'settle', GIVING_BACK, {}, async () => {
    await vm.agent.waitReady({ signal: waitAfter("the guest's network manager", GIVEBACK_MS) });
    await awaitManager(log, vm.agent, nic, manager);
  });
  const after = await nicStep(log, move, 'settle', 'compare with the shadow', {}, async () => {
    const signal = waitAfter('the guest agent on the destination', waitMs);
    await vm.agent.waitReady({ signal });
    return captureShadow(vm.agent, staged.identity, staged.standbyPciPath, signal);
  });
  keepShadow(log, stores.shadows, { vm: order.spec.name, nic, shadow: after, by: 'settle' });
  await remember(run, staged, after);
  await nicStep(log, move, 'settle', 'remove the program from the guest', {}, () =>
    endProgram(vm, nic, waitMs),
  );
  const several = order.nics.length > 1;
  const persisted = order.persist
    ? await persistNic(log, { shell: vm.agent, shadow: after, nic, several })
    : undefined;
  const outcomes = verify(shadow, after, plan, replayed.results);
  return { after, outcomes, wanted: wantedAfter(shadow, after, outcomes, plan.untouched), persisted };
}

/** What this migration has shown of devices is worth having, and no reason to call a good migration degraded. */
async function remember(
  { vm, order, log, stores }: IncomingRun,
  { nic, plan, identity }: StagedNic,
  after: NetShadow,
): Promise<void> {
  const signal = waitAfter('what the device was before anything was set', order.limits.agentMs);
  const seen = { plan, identity, after, dir: programDirectory(nic), signal };
  await learn(stores.abilities, vm.agent, seen).catch((error: unknown) =>
    warn(log, `what this device can do was not kept: ${reasonOf(error)}`),
  );
}

/** The VM as it is recorded: each NIC with what its device could not have. */
function specWithWanted(spec: VmSpec, settled: ReadonlyMap<string, NicSettled>): VmSpec {
  const nics = spec.nics.map((nic) => {
    const wanted = settled.get(nic.id)?.wanted;
    return wanted === undefined ? nic : { ...nic, wanted };
  });
  return { ...spec, nics };
}

/** Settles each NIC that has its device. @returns what was found, by NIC, and the VM as it is from now on */
export async function settleAll(
  run: IncomingRun,
  replayed: ReadonlyMap<string, Replayed>,
): Promise<{ settled: ReadonlyMap<string, NicSettled>; spec: VmSpec }> {
  const { order, log } = run;
  const settled = new Map<string, NicSettled>();
  await together(run.staged, async (staged) => {
    const done = replayed.get(staged.nic);
    if (done !== undefined) settled.set(staged.nic, await settleNic(run, staged, done));
    else if (order.persist) warn(log, withoutDevice(staged.nic));
  });
  return { settled, spec: specWithWanted(order.spec, settled) };
}
