/** Undo: takes a migration back from what the journal holds. Each undo may be repeated without harm. */
import { nowMs } from '../base/clock.ts';
import { together } from '../base/together.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import { directDeviceProps } from '../hypervisor/qemu/argv.ts';
import { type DirectNic, nicIds } from '../hypervisor/qemu/spec.ts';
import { announceSelf, cont, deviceAdd, queryStatus } from '../hypervisor/qmp/commands.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import { removeProgram } from '../shadow/net/guest.ts';
import { forgetPersisted, PERSIST_MS } from '../shadow/net/manager/persist.ts';
import { stopMirror } from '../storage/mirror.ts';
import { stopAnswering } from './absence.ts';
import type { DestinationHost } from './destination/destination.ts';
import { endCopy } from './end-copy.ts';
import { undoTelling } from './guest-manager.ts';
import { otherOwner } from './hand-over.ts';
import type { Journal, JournalStep } from './journal.ts';
import type { Limits } from './request.ts';
import { moveOf, type NicMove, nicStepName, programDirectory, type RunLog, waitAfter, warn } from './run.ts';
import type { Undo } from './undo.ts';
import { undoGroups } from './undo-order.ts';
import { channelOf, isPlugged, type RunningVm, setStandbyLink } from './vm.ts';

/** The VM may stand still meanwhile. */
const STORE_MS = 2_000;
/** A guest that was slow to release its device may still do it; only then can it be plugged again. */
const LATE_UNPLUG_MS = 3_000;

/** What an undo needs: a migration under way has it, and a later process makes it from the journal. */
export interface Rollback extends RunLog {
  readonly journal: RunLog['journal'] & Pick<Journal, 'steps'>;
  readonly source: RunningVm;
  readonly destination: Pick<DestinationHost, 'name' | 'answerUnreachable' | 'undo'>;
  readonly ownership: Pick<OwnershipStore, 'read'>;
  readonly request: { readonly limits: Pick<Limits, 'attachMs'> };
  readonly nics: readonly Pick<NicMove, 'nic'>[];
  /** Whether the guest was asked to release a NIC's device, or may have been. */
  readonly unplugAsked: (nic: string) => boolean;
  /** Whether the program in the guest was told for certain to move traffic off a NIC's device. */
  readonly leaveAsked: (nic: string) => boolean;
  /**
   * Whether a NIC has its device as it was, and nothing of the migration is left in the guest. Asked only by a process
   * that came later: the one before may have taken it back and not been able to write that down.
   */
  readonly isBack?: ((nic: DirectNic) => Promise<boolean>) | undefined;
}

async function cancelCopy(run: Rollback): Promise<void> {
  const { monitor, spec } = run.source.qemu;
  await endCopy(run.source.qemu);
  if ((await queryStatus(monitor)).running) return;
  // a destination that has loaded all holds the images' locks, which ours needs to go on
  if (spec.disks.length > 0) {
    const of = { vm: spec.name, migration: run.id };
    await run.destination.undo(of, { kind: 'end-destination', host: run.destination.name });
  }
  await cont(monitor);
}

async function reattach(run: Rollback, { nic }: Pick<NicMove, 'nic'>): Promise<void> {
  const { source } = run;
  if (await run.isBack?.(nic)) return;
  const ids = nicIds(nic);
  const { monitor } = source.qemu;
  const signal = waitAfter('the device on the source', run.request.limits.attachMs);
  const late = monitor.waitFor(
    (event) => event.name === 'DEVICE_DELETED' && event.data.device === ids.directDevice,
    {
      signal: waitAfter('a late unplug', LATE_UNPLUG_MS),
    },
  );
  const plugged = await isPlugged(source, nic);
  // an unplug that was asked for and not answered may still come: plugging before it would lose the new device
  const gone =
    !plugged ||
    (run.unplugAsked(nic.id) &&
      (await late.promise.then(
        () => true,
        () => false,
      )));
  late.dispose();
  const channel = channelOf(source, nic.id);
  const done = channel.waitFor((event) => event.e === 'done', signal);
  // it answers only for a device that it has left; who died may not have come to tell it so
  if (!gone && !run.leaveAsked(nic.id)) channel.send('leave');
  channel.send('rollback');
  if (gone) {
    const { model } = nic.direct;
    await deviceAdd(monitor, { driver: model, ...directDeviceProps(nic, model), id: ids.directDevice });
  }
  await done;
  await announceSelf(monitor, { interfaces: [ids.directDevice] });
}

/** How long the program has to finish what it is about, before it is ended from outside. */
const STOP_MS = 5_000;

async function removeFromGuest(run: Rollback, { nic }: Pick<NicMove, 'nic'>): Promise<void> {
  const channel = channelOf(run.source, nic.id);
  const stopped = channel.waitFor(
    (event) => event.e === 'stopped',
    waitAfter('the last words of the program in the guest', STOP_MS),
  );
  channel.send('stop');
  await stopped.catch(() => {}); // one that never started, or does not hear us, cannot say that it stopped
  const signal = waitAfter('the end of the program in the guest', 10_000);
  await removeProgram(run.source.agent, programDirectory(nic.id), signal);
}

async function perform(run: Rollback, undo: Undo): Promise<void> {
  const vm = run.source.qemu.spec.name;
  switch (undo.kind) {
    case 'cancel-copy':
      return cancelCopy(run);
    case 'reattach':
      return reattach(run, moveOf(run, undo.nic));
    case 'stop-answering':
      return unlessAway(run, () => stopAnswering(run, moveOf(run, undo.nic)));
    case 'standby-link-down':
      return setStandbyLink(run.source, undo.nic, false);
    case 'remove-program':
      return removeFromGuest(run, moveOf(run, undo.nic));
    case 'give-interface-back':
      return undoTelling(run, run.source.agent, undo.nic);
    case 'forget-persisted': {
      const { agent } = run.source;
      return forgetPersisted(
        agent,
        undo.nic,
        waitAfter('removing what was written for the next boot', PERSIST_MS),
      );
    }
    case 'stop-mirror':
      return stopMirror(run.source.qemu.monitor, undo.disk);
    case 'end-destination':
    case 'remove-disk':
    case 'remove-tap':
    case 'release-device':
      return unlessAway(run, () => run.destination.undo({ vm, migration: run.id }, undo));
    case 'unprepare-device': // belongs to swaps
      return;
    default:
      return undo satisfies never;
  }
}

/** A destination that cannot be reached cleans up by itself: without the commit nothing there may run. */
async function unlessAway(run: Rollback, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof ShadowferryError && error.code === 'PEER_UNREACHABLE')) throw error;
    warn(run, `${error.message}; what was made there is taken back by itself when it sees the record`);
  }
}

/**
 * Undoes every step of the journal in the order of `undoGroups`; goes on after one that fails. Does nothing when the
 * record names another host: its QEMU has the only copy that may run.
 * @returns what could not be undone, a sentence each.
 */
export async function rollBack(run: Rollback): Promise<string[]> {
  const left: string[] = [];
  const vm = run.source.qemu.spec.name;
  const host = run.source.host.name;
  const other = await otherOwner(run.ownership, vm, host, waitAfter('the ownership store', STORE_MS));
  if (other !== undefined)
    return [new ShadowferryError('NOT_OWNER', { vm, host, owner: other.owner, epoch: other.epoch }).message];
  const entries = run.journal.steps(run.id).filter(({ status }) => status !== 'undone');
  for (const { seq } of entries.filter(({ undo }) => undo.length === 0))
    run.journal.end(run.id, seq, 'undone');
  for (const chains of undoGroups(entries)) {
    await together(chains, async (chain) => {
      for (const entry of chain) left.push(...(await undoStep(run, entry)));
    });
  }
  return left;
}

async function undoStep(run: Rollback, { seq, undo: undos }: JournalStep): Promise<string[]> {
  const left: string[] = [];
  for (const undo of undos.toReversed()) {
    const what = nicStepName(undo.kind, 'nic' in undo ? undo.nic : '', 'nic' in undo && run.nics.length > 1);
    run.emit({ type: 'undo', atMs: run.timeline.relative(), what });
    const begun = nowMs();
    try {
      await perform(run, undo);
      run.journal.note(run.id, 'undo', `${what} in ${Math.round(nowMs() - begun)} ms`);
    } catch (error) {
      left.push(`${what}: ${reasonOf(error)}`);
      run.journal.end(run.id, seq, 'undo-failed', { error: reasonOf(error) });
    }
  }
  if (left.length === 0) run.journal.end(run.id, seq, 'undone');
  return left;
}
