/** Does what the decisions of the source's daemon say. Each act may be repeated without harm. */
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError } from '../../errors.ts';
import { directNics } from '../../hypervisor/qemu/spec.ts';
import { cont, migrate, stop } from '../../hypervisor/qmp/commands.ts';
import { stopAnswering } from '../absence.ts';
import { leaveDisks } from '../disks.ts';
import { endCopy } from '../end-copy.ts';
import { NOTE } from '../history.ts';
import { PROTOCOL_MS } from '../protocol/messages.ts';
import { commitAttempt, type HandOver } from '../protocol/record.ts';
import type { SourceDecision } from '../protocol/source-recovery.ts';
import { Limits } from '../request.ts';
import { type Rollback, rollBack } from '../rollback.ts';
import { nicStepName, programDirectory, type RunLog, warn } from '../run.ts';
import { isDestinationUndo } from '../undo.ts';
import { clearDeadVm, endVm, isPlugged, type RunningVm } from '../vm.ts';
import { type Eyes, isOpen, isThere } from './look.ts';
import type { RecoveryDependencies } from './model.ts';

export type Act = Exclude<SourceDecision['action'], 'note'>;

const MONITOR_MS = 10_000;

export interface Acting {
  looker: Eyes;
  deps: RecoveryDependencies;
  log: RunLog;
  handOver: HandOver;
  /** What could not be taken back, a sentence each. */
  left: string[];
}

function vmOf({ looker }: Acting): RunningVm {
  if (looker.vm === undefined)
    throw new ShadowferryError('INTERNAL', { why: 'a VM that is gone cannot be worked with' });
  return looker.vm;
}

/** Whether the program's files are in the guest, where it was started; it is removed last. */
async function hasProgram(vm: RunningVm, nic: string): Promise<boolean> {
  const signal = deadline('the files of the program in the guest', MONITOR_MS);
  return (await vm.agent.exec(['ls', '-d', programDirectory(nic)], { signal })).code === 0;
}

/** Takes back all steps that are still open: those about the guest only where there is one. */
export async function undoSteps(acting: Acting): Promise<void> {
  const { looker, deps, log, left } = acting;
  const { vm } = looker;
  if (vm === undefined) return undoThere(acting);
  const nics = directNics(vm.qemu.spec).map((nic) => ({ nic }));
  const several = nics.length > 1;
  const rollback: Rollback = {
    ...log,
    journal: deps.journal,
    source: vm,
    destination: deps.destination,
    ownership: deps.ownership,
    request: { limits: looker.request?.limits ?? Limits.parse({}) },
    nics,
    leaveAsked: () => false, // it stands nowhere
    isBack: async (nic) => (await isPlugged(vm, nic)) && !(await hasProgram(vm, nic.id)),
    unplugAsked: (nic) =>
      looker.steps.some(({ name }) => name === nicStepName('release and unplug the device', nic, several)),
  };
  left.push(...(await rollBack(rollback)));
}

/** Without the VM: what was made on the destination is taken back all the same. */
async function undoThere({ looker, deps, left, handOver }: Acting): Promise<void> {
  const of = { vm: handOver.vm, migration: looker.entry.id };
  for (const { seq, undo } of looker.steps.filter((step) => isOpen(step) && isThere(step)).reverse()) {
    try {
      for (const each of undo.toReversed())
        if (isDestinationUndo(each)) await deps.destination.undo(of, each);
      deps.journal.end(looker.entry.id, seq, 'undone');
    } catch (error) {
      left.push(`step ${seq}: ${error instanceof Error ? error.message : String(error)}`);
      deps.journal.end(looker.entry.id, seq, 'undo-failed', { error: String(error) });
    }
  }
}

/** Ends the copy that is not needed any more, and gives its devices' addresses back to the network. */
async function discard(acting: Acting): Promise<void> {
  const vm = vmOf(acting);
  for (const nic of directNics(vm.qemu.spec))
    await stopAnswering({ source: vm, destination: acting.deps.destination }, { nic }).catch(() => {});
  acting.looker.vm = undefined;
  await endVm(vm);
  const { oldDisks = 'keep' } = acting.looker.request ?? {};
  for (const text of leaveDisks(vm.qemu.spec, acting.handOver, oldDisks)) warn(acting.log, text);
}

async function release({ deps, handOver: { vm } }: Acting): Promise<void> {
  const { ownership, host } = deps;
  // of a QEMU that nobody ended; before the claims, which are what this is done again for
  await clearDeadVm(host, vm);
  const signal = deadline('the ownership store', PROTOCOL_MS.answer, deps.signal);
  for (const claim of await ownership.claims(host.name, signal))
    if (claim.vm === vm) await ownership.releaseDevice({ host: host.name, device: claim.device, vm }, signal);
}

async function resumeCopy({ deps, handOver, ...acting }: Acting): Promise<void> {
  const signal = deadline('the place where the destination listens', PROTOCOL_MS.answer, deps.signal);
  const uri = await deps.peer.listens?.(handOver.id, signal);
  if (uri === undefined) return; // it has not said so yet
  await migrate(vmOf({ deps, handOver, ...acting }).qemu.monitor, uri, { resume: true, signal });
}

/** @throws what did not work; it is tried again after the next look */
export async function act(action: Act, acting: Acting): Promise<void> {
  const { deps, handOver, looker } = acting;
  const attempt = commitAttempt(handOver);
  const soon = () => deadline('an answer', PROTOCOL_MS.answer, deps.signal);
  const monitor = () => ({ signal: deadline('the monitor of the VM', MONITOR_MS, deps.signal) });
  switch (action) {
    case 'none':
    case 'wait':
    case 'ask-operator':
      return;
    case 'cancel-migration':
      return endCopy(vmOf(acting).qemu);
    case 'continue-vm':
      return cont(vmOf(acting).qemu.monitor, monitor());
    case 'pause-vm':
      return stop(vmOf(acting).qemu.monitor, monitor());
    case 're-attach':
      return undoSteps(acting);
    case 'refuse-hand-over':
      await deps.ownership.resolveHandOver(attempt, soon());
      return;
    case 'hand-over':
      deps.journal.note(looker.entry.id, NOTE.asked, `epoch ${handOver.epoch} → ${handOver.destination}`);
      await deps.ownership.handOver(attempt.expected, attempt.to, {
        attempt: attempt.attempt,
        signal: soon(),
      });
      return;
    case 'tell-cancel':
      await deps.peer.tell({ kind: 'cancel', handOver }, soon());
      return;
    case 'tell-look':
      await deps.peer.tell({ kind: 'look', handOver }, soon());
      return;
    case 'resume-copy':
      return resumeCopy(acting);
    case 'discard-vm':
      return discard(acting);
    case 'release':
      return release(acting);
    default:
      return action satisfies never;
  }
}
