/** Gives a degraded VM its direct devices after all: what `attach` and `settle` left undone, by a later process. */
import { randomInt } from 'node:crypto';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { guestPciPath } from '../hypervisor/qemu/pci.ts';
import { type DirectNic, directNics, type NicSpec, nicIds } from '../hypervisor/qemu/spec.ts';
import { unplugDevice } from '../hypervisor/qmp/unplug.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import type { AbilityStore } from '../shadow/net/abilities.ts';
import { captureShadow } from '../shadow/net/guest.ts';
import { GIVEBACK_MS, giveInterfaceBack } from '../shadow/net/manager/manager.ts';
import type { NetShadow, Outcome } from '../shadow/net/model.ts';
import { type OperationResult, verify } from '../shadow/net/verify.ts';
import type { ShadowStore } from '../shadow/store/store.ts';
import { type Arrivals, type Degraded, degradedOf, degradedVm } from './degraded.ts';
import { endProgram } from './destination/settle.ts';
import type { StagedNote } from './history.ts';
import type { Journal } from './journal.ts';
import { learn } from './knowledge.ts';
import { plugAndReplay } from './plug.ts';
import { Limits } from './request.ts';
import { nicStepName, programDirectory, waitAfter } from './run.ts';
import { holdsOld, letGoOfOld } from './swap/exchange.ts';
import { channelOf, isPlugged, type RunningVm } from './vm.ts';

/** What was done about one NIC. */
export interface NicReattached {
  nic: string;
  /** `none`: nothing was missing. `attached`: plugged and replayed. `settled`: only the comparison was missing. */
  action: 'none' | 'attached' | 'settled';
  reason: string;
  device: { id: string; model: string; driver?: string };
  outcomes: Outcome[];
}

export interface Reattached {
  /** The degraded migration that this ends. */
  migration?: string;
  /** Each direct NIC, in the order of the VM's spec. */
  nics: NicReattached[];
}

export interface ReattachOptions {
  vm: RunningVm;
  journal: Journal;
  /** Where the VM may have come from another host's daemon. */
  arrivals?: Arrivals | undefined;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  /** Where the shadow of the device that came is kept. */
  shadows?: ShadowStore | undefined;
  limits?: Limits;
  /** Told what is being done. */
  say: (line: string) => void;
}

/** The program answers at once; its port is opened again within a second after a host has left it. */
const PROGRAM_MS = 5_000;

/**
 * Makes sure that the program is in the guest, and that what it said before we came is read: the next event that is
 * waited for is a new one.
 */
export async function findProgram(vm: RunningVm, nic: string, waitMs: number): Promise<void> {
  const n = randomInt(1, 1_000_000);
  const signal = waitAfter('an answer of the replay program', waitMs);
  const channel = channelOf(vm, nic);
  const pong = channel.waitFor((event) => event.e === 'pong' && event.n === n, signal);
  channel.send(`ping ${n}`);
  try {
    await pong;
  } catch (error) {
    const why = reasonOf(error);
    throw new ShadowferryError('PROGRAM_LOST', { vm: vm.qemu.spec.name, why }, { cause: error });
  }
}

/** Plugs and replays; a device that is plugged and was not taken by the guest is plugged anew. */
async function plugAgain(
  options: ReattachOptions,
  nic: DirectNic,
  staged: StagedNote,
  limits: Limits,
): Promise<OperationResult[]> {
  const { vm, say } = options;
  if (await isPlugged(vm, nic)) {
    say(`${nic.id}: the device is plugged, but the guest has not said that it uses it: it is plugged anew.`);
    const signal = waitAfter('the unplug', limits.unplugMs);
    await unplugDevice(vm.qemu.monitor, { id: nicIds(nic).directDevice, signal });
  }
  const { results } = await plugAndReplay({
    vm,
    nic,
    model: nic.direct.model,
    continuity: staged.plan.continuity,
    waitMs: limits.attachMs,
    mark: (name) => say(`${nic.id}: ${name}.`),
  });
  return results;
}

async function capture(vm: RunningVm, nic: NicSpec, staged: StagedNote, waitMs: number): Promise<NetShadow> {
  const signal = waitAfter('the guest agent', waitMs);
  const standbyPciPath =
    nic.standby === 'none' ? undefined : await guestPciPath(vm.qemu.monitor, nicIds(nic).standbyPort);
  await vm.agent.waitReady({ signal });
  return captureShadow(vm.agent, staged.plan.match, standbyPciPath, signal);
}

/** The degraded migration with what it staged, read once. */
type Known = Omit<Degraded, 'staged'> & { staged: ReadonlyMap<string, StagedNote> };

/** Whether the journal holds a step about the NIC that was done. */
function isDone({ steps, staged }: Known, name: string, nic: string): boolean {
  const wanted = nicStepName(name, nic, staged.size > 1);
  return steps().some((step) => step.name === wanted && step.status === 'done');
}

const AGAIN = 'plug and replay again';
const nothing = (vm: RunningVm, nic: DirectNic): NicReattached => ({
  nic: nic.id,
  action: 'none',
  reason: `"${vm.qemu.spec.name}" has its direct device ${nic.direct.device}`,
  device: { id: nic.direct.device, model: nic.direct.model },
  outcomes: [],
});

async function attachAndCompare(
  options: ReattachOptions,
  degraded: Known,
  nic: DirectNic,
): Promise<NicReattached> {
  const { vm, ownership, abilities, say, limits = Limits.parse({}) } = options;
  const { name } = vm.qemu.spec;
  const host = vm.host.name;
  const plugged = await isPlugged(vm, nic);
  const settled = ['remove the program from the guest', AGAIN].some((step) => isDone(degraded, step, nic.id));
  const staged = degraded.staged.get(nic.id);
  // a swap is about one NIC only
  if (plugged && (settled || staged === undefined)) return nothing(vm, nic);
  if (staged === undefined)
    throw new ShadowferryError('PROGRAM_LOST', { vm: name, why: `nothing was staged for ${nic.id}` });
  await ownership.claimDevice({ host, device: nic.direct.device, vm: name });
  const missing = !plugged || !isDone(degraded, 'plug and replay', nic.id);
  const program = await findProgram(vm, nic.id, PROGRAM_MS).then(
    () => true,
    (error: unknown) => {
      if (missing) throw error;
      return false;
    },
  );
  const results = missing ? await plugAgain(options, nic, staged, limits) : [];
  const giving = waitAfter("the guest's network manager", GIVEBACK_MS);
  const { problems } = await giveInterfaceBack(vm.agent, programDirectory(nic.id), giving);
  for (const problem of problems) say(`${nic.id}: ${problem}`);
  const after = await capture(vm, nic, staged, limits.agentMs);
  const driver = after.hardware?.driver;
  if (driver === undefined)
    throw new ShadowferryError('GUEST_LACKS', {
      what: `device ${nic.direct.device}`,
      how: 'See its kernel log.',
    });
  try {
    options.shadows?.record(name, nic.id, after, 'attach');
  } catch (error) {
    say(`The shadow was not kept: ${reasonOf(error)}`);
  }
  await learn(abilities, vm.agent, {
    ...{ dir: programDirectory(nic.id), plan: staged.plan, identity: staged.plan.match, after },
    signal: waitAfter('the guest agent', limits.agentMs),
  }).catch((error: unknown) => say(`What this device can do was not kept: ${reasonOf(error)}`));
  if (program) await endProgram(vm, nic.id, limits.agentMs);
  return {
    nic: nic.id,
    action: missing ? 'attached' : 'settled',
    reason: missing ? 'the device was missing' : 'only the comparison with the shadow was missing',
    device: { id: nic.direct.device, model: nic.direct.model, driver },
    outcomes: verify(staged.shadow, after, staged.plan, results),
  };
}

/** One after the other, as a NIC that does not come must not keep another away. @throws the first failure, at the end */
async function reattachEach(
  options: ReattachOptions,
  degraded: Known,
  nics: readonly DirectNic[],
): Promise<NicReattached[]> {
  const { journal } = degraded;
  const done: NicReattached[] = [];
  const failures: unknown[] = [];
  for (const nic of nics) {
    const name = nicStepName(AGAIN, nic.id, degraded.staged.size > 1);
    const seq = journal.begin(degraded.id, 'attach', name, []);
    try {
      const each = await attachAndCompare(options, degraded, nic);
      journal.end(degraded.id, seq, 'done', each);
      done.push(each);
    } catch (error) {
      journal.end(degraded.id, seq, 'failed', { error: reasonOf(error) });
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return done;
}

/**
 * Tries again to give a VM the direct devices of its spec, compares each with its shadow in the journal, and takes the
 * programs out of the guest. Does nothing for a NIC of which nothing is missing.
 * @throws DEGRADED when it does not work this time either, PROGRAM_LOST when there is nothing left to replay.
 */
export async function reattach(options: ReattachOptions): Promise<Reattached> {
  const { vm, journal, arrivals } = options;
  const { name } = vm.qemu.spec;
  const degraded = degradedOf(name, journal, arrivals);
  if (degraded === undefined) {
    const nics = directNics(vm.qemu.spec);
    for (const nic of nics) {
      if (await isPlugged(vm, nic)) continue;
      const why = `${nic.id} has no device, and the journal knows of no migration that left it so`;
      throw new ShadowferryError('PROGRAM_LOST', { vm: name, why });
    }
    return { nics: nics.map((nic) => nothing(vm, nic)) };
  }
  try {
    const exchange = degraded.exchange();
    if (exchange !== undefined && holdsOld(degraded.steps()))
      await letGoOfOld(exchange, { ...options, journal: degraded.journal, migration: degraded.id });
    const nics = directNics(vm.qemu.spec);
    const done = await reattachEach(options, { ...degraded, staged: degraded.staged() }, nics);
    const reasons = done.map(({ nic, reason }) => `${nic}: ${reason}`);
    degraded.mended(reasons.join('; '));
    return { migration: degraded.id, nics: done };
  } catch (error) {
    if (error instanceof ShadowferryError && error.code === 'PROGRAM_LOST') throw error;
    const why = reasonOf(error);
    throw degradedVm({ vm: name, host: vm.host.name, why }, error);
  }
}
