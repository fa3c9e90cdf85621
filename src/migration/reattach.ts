/** Gives a degraded VM its direct device after all: what `attach` and `settle` left undone, by a later process. */
import { randomInt } from 'node:crypto';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { guestPciPath } from '../hypervisor/qemu/pci.ts';
import { type NicSpec, nicIds } from '../hypervisor/qemu/spec.ts';
import { unplugDevice } from '../hypervisor/qmp/unplug.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import { type AbilityStore, abilitiesOf } from '../shadow/net/abilities.ts';
import { captureShadow } from '../shadow/net/guest.ts';
import type { NetShadow, Outcome } from '../shadow/net/model.ts';
import { type OperationResult, verify } from '../shadow/net/verify.ts';
import { degradedMigration, NOTE, type StagedNote, stagedOf } from './history.ts';
import type { Journal, JournalMigration } from './journal.ts';
import { plugAndReplay } from './phases/attach.ts';
import { endProgram } from './phases/settle.ts';
import { Limits } from './request.ts';
import { waitAfter } from './run.ts';
import { isPlugged, type RunningVm } from './vm.ts';

export interface Reattached {
  /** `none`: nothing was missing. `attached`: plugged and replayed. `settled`: only the comparison was missing. */
  action: 'none' | 'attached' | 'settled';
  reason: string;
  /** The degraded migration that this ends. */
  migration?: string;
  device?: { nic: string; id: string; model: string; driver: string };
  outcomes: Outcome[];
}

export interface ReattachOptions {
  vm: RunningVm;
  journal: Journal;
  ownership: OwnershipStore;
  abilities: AbilityStore;
  limits?: Limits;
  /** Told what is being done. */
  say: (line: string) => void;
}

/** The program answers at once; its port is opened again within a second after a host has left it. */
const PROGRAM_MS = 5_000;

type DirectNic = NicSpec & { direct: NonNullable<NicSpec['direct']> };

function directNic(vm: RunningVm): DirectNic | undefined {
  for (const nic of vm.qemu.spec.nics) if (nic.direct !== undefined) return { ...nic, direct: nic.direct };
  return undefined;
}

/**
 * Makes sure that the program is in the guest, and that what it said before we came is read: the next event that is
 * waited for is a new one.
 */
async function findProgram(vm: RunningVm, waitMs: number): Promise<void> {
  const n = randomInt(1, 1_000_000);
  const signal = waitAfter('an answer of the replay program', waitMs);
  const pong = vm.channel.waitFor((event) => event.e === 'pong' && event.n === n, signal);
  vm.channel.send(`ping ${n}`);
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
    say('The device is plugged, but the guest has not said that it uses it: it is plugged anew.');
    const signal = waitAfter('the unplug', limits.unplugMs);
    await unplugDevice(vm.qemu.monitor, { id: nicIds(nic).directDevice, signal });
  }
  const { results } = await plugAndReplay({
    vm,
    nic,
    model: nic.direct.model,
    continuity: staged.plan.continuity,
    waitMs: limits.attachMs,
    mark: (name) => say(`${name}.`),
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

async function attachAndCompare(
  options: ReattachOptions,
  degraded: JournalMigration,
  nic: DirectNic,
  staged: StagedNote,
): Promise<Reattached> {
  const { vm, journal, ownership, abilities, say, limits = Limits.parse({}) } = options;
  const { name } = vm.qemu.spec;
  const host = vm.host.name;
  const { id } = degraded;
  await ownership.claimDevice({ host, device: nic.direct.device, vm: name });
  const replayed = journal
    .steps(id)
    .some((step) => step.name === 'plug and replay' && step.status === 'done');
  const missing = !replayed || !(await isPlugged(vm, nic));
  const program = await findProgram(vm, PROGRAM_MS).then(
    () => true,
    (error: unknown) => {
      if (missing) throw error;
      return false;
    },
  );
  const results = missing ? await plugAgain(options, nic, staged, limits) : [];
  const after = await capture(vm, nic, staged, limits.agentMs);
  const driver = after.hardware?.driver;
  if (driver === undefined)
    throw new ShadowferryError('GUEST_LACKS', {
      what: `device ${nic.direct.device}`,
      how: 'See its kernel log.',
    });
  const learned = abilitiesOf(after);
  if (learned !== undefined) {
    await abilities
      .remember(learned)
      .catch((error: unknown) => say(`What this device can do was not kept: ${reasonOf(error)}`));
  }
  if (program) await endProgram(vm, nic.id, limits.agentMs);
  return {
    action: missing ? 'attached' : 'settled',
    reason: missing ? 'the device was missing' : 'only the comparison with the shadow was missing',
    migration: id,
    device: { nic: nic.id, id: nic.direct.device, model: nic.direct.model, driver },
    outcomes: verify(staged.shadow, after, staged.plan, results),
  };
}

/**
 * Tries again to give a VM the direct device of its spec, compares it with the shadow in the journal, and takes the
 * program out of the guest. Does nothing when nothing is missing.
 * @throws DEGRADED when it does not work this time either, PROGRAM_LOST when there is nothing left to replay.
 */
export async function reattach(options: ReattachOptions): Promise<Reattached> {
  const { vm, journal } = options;
  const { name } = vm.qemu.spec;
  const nic = directNic(vm);
  if (nic === undefined) return { action: 'none', reason: `"${name}" has no direct device`, outcomes: [] };
  const degraded = degradedMigration(journal, name);
  const staged = degraded === undefined ? undefined : stagedOf(journal, degraded.id);
  if (degraded === undefined || staged === undefined) {
    if (await isPlugged(vm, nic)) {
      return { action: 'none', reason: `"${name}" has its direct device ${nic.direct.device}`, outcomes: [] };
    }
    const why = 'the journal knows of no migration that left it there';
    throw new ShadowferryError('PROGRAM_LOST', { vm: name, why });
  }
  const seq = journal.begin(degraded.id, 'attach', 'plug and replay again', []);
  try {
    const done = await attachAndCompare(options, degraded, nic, staged);
    journal.end(degraded.id, seq, 'done', done);
    journal.note(degraded.id, NOTE.reattached, done.reason);
    return done;
  } catch (error) {
    journal.end(degraded.id, seq, 'failed', { error: reasonOf(error) });
    if (error instanceof ShadowferryError && error.code === 'PROGRAM_LOST') throw error;
    const why = reasonOf(error);
    throw new ShadowferryError('DEGRADED', { vm: name, host: vm.host.name, why }, { cause: error });
  }
}
