/**
 * Takes a swap or a rescue that a dead process left open to its end: back to the old device until traffic is on the new
 * one, forward after it. There is one host, so nobody else is asked.
 */
import { deadline } from '../../base/deadline.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { MigrationEvent } from '../events.ts';
import type { JournalMigration } from '../journal.ts';
import type { Event, State } from '../machine.ts';
import { reattach } from '../reattach.ts';
import type { RunLog } from '../run.ts';
import { exchangeOf, LET_GO, letGoOfOld } from '../swap/exchange.ts';
import { swapTransition } from '../swap/machine.ts';
import { SwapRequest } from '../swap/request.ts';
import { rollBackSwap } from '../swap/rollback.ts';
import type { SwapSite } from '../swap/site.ts';
import { vmSite } from '../swap/vm-site.ts';
import { Timeline } from '../timeline.ts';
import { disconnectVm, findVm, type RunningVm } from '../vm.ts';
import { StateText } from './look.ts';
import type { Recovered, RecoveryDependencies } from './model.ts';
import { phaseOf, recoveredResult } from './result.ts';

const MONITOR_MS = 10_000;

interface Recovering {
  entry: JournalMigration;
  deps: RecoveryDependencies;
  request: SwapRequest;
  log: RunLog;
  vm: RunningVm | undefined;
  left: string[];
}

function stateOf({ entry, deps }: Recovering): State {
  return StateText.parse(JSON.parse((deps.journal.find(entry.id) ?? entry).state));
}

function move(recovering: Recovering, event: Event): State {
  const { entry, deps, request } = recovering;
  const { state, reason } = swapTransition(request.kind, stateOf(recovering), event);
  deps.journal.setState(entry.id, state, reason);
  return state;
}

function siteOf({ deps, request, vm }: Recovering): Promise<SwapSite> {
  if (vm === undefined)
    throw new ShadowferryError('INTERNAL', { why: `VM "${request.vm}" does not run here` });
  const signal = deadline('the devices of the swap', MONITOR_MS, deps.signal);
  return vmSite(request, { vm, ownership: deps.ownership, signal });
}

async function goBack(recovering: Recovering): Promise<void> {
  const { entry, deps, request, log, left } = recovering;
  try {
    const site = await siteOf(recovering);
    const { journal, abilities, shadows } = deps;
    const begun = journal.steps(entry.id).filter(({ phase }) => phase === 'detach' || phase === 'attach');
    const done = begun.some(({ phase, status }) => phase === 'detach' && status === 'done');
    const unplugged = done || (begun.length > 0 && !(await site.isPlugged()));
    left.push(
      ...(await rollBackSwap({
        ...{ ...log, journal, request, site, abilities, shadows },
        ...{ cancel: new AbortController().signal, lastKnown: undefined, armed: undefined },
        facts: { leaving: begun.length > 0, unplugged },
      })),
    );
  } catch (error) {
    left.push(reasonOf(error));
  }
  move(recovering, left.length === 0 ? 'undone' : 'undo-failed');
}

/** The new device carries the traffic: the VM's record follows, and the old device is free. */
async function letGo(recovering: Recovering): Promise<void> {
  const { entry, deps, vm, left } = recovering;
  const { journal, ownership } = deps;
  if (journal.steps(entry.id).some(({ name, status }) => name === LET_GO && status === 'done')) return;
  const exchange = exchangeOf(journal, entry.id);
  if (exchange === undefined || vm === undefined) return; // it ended with its QEMU, and its claims are taken back there
  try {
    await letGoOfOld(exchange, { vm, ownership, journal, migration: entry.id });
  } catch (error) {
    left.push(`${LET_GO}: ${reasonOf(error)}`);
  }
}

/** What settle left undone, as `attach` does it; that it does not work is told, and `attach` may be tried again. */
async function settleLater({ deps, log, vm }: Recovering): Promise<void> {
  if (vm === undefined) return;
  const warn = (text: string) => {
    log.warnings.push(text);
    log.emit({ type: 'warning', atMs: log.timeline.relative(), text });
  };
  const { journal, ownership, abilities, shadows } = deps;
  await reattach({ vm, journal, ownership, abilities, shadows, say: warn }).catch((error: unknown) =>
    warn(`what was left to do was not done: ${reasonOf(error)}`),
  );
}

/** @throws what `signal` was aborted with */
export async function recoverSwap(entry: JournalMigration, deps: RecoveryDependencies): Promise<Recovered> {
  const { journal, signal, host } = deps;
  journal.strict();
  const emit = (event: MigrationEvent) => deps.emit(event);
  const log = { id: entry.id, journal, timeline: new Timeline(), warnings: [], decisions: [], emit };
  const request = SwapRequest.parse(JSON.parse(entry.request));
  const vm = await findVm(host, entry.vm, deadline('the monitor of the VM', MONITOR_MS, signal)).catch(
    (error: unknown) => {
      if (error instanceof ShadowferryError && error.code === 'UNKNOWN_VM') return undefined;
      throw error;
    },
  );
  const recovering: Recovering = { entry, deps, request, log, vm, left: [] };
  try {
    const before = stateOf(recovering);
    journal.note(entry.id, 'recovery', `found open in ${phaseOf(before)}`);
    for (let state = before; state.kind !== 'ended'; state = stateOf(recovering)) {
      signal.throwIfAborted();
      if (state.kind === 'rolling-back') await goBack(recovering);
      else {
        if (state.phase === 'settle') await letGo(recovering);
        move(recovering, 'failed');
      }
    }
    const state = stateOf(recovering);
    const ending = state.kind === 'ended' ? state.ending : 'stuck';
    const { left } = recovering;
    const { decisions, warnings } = log;
    const spec = vm?.qemu.spec;
    const result = recoveredResult(journal, { entry, before, ending, left, spec, decisions, warnings });
    journal.close(entry.id, ending, result);
    if (ending === 'degraded') await settleLater(recovering);
    return { result, ...(vm === undefined ? {} : { vm }) };
  } catch (error) {
    if (vm !== undefined) await disconnectVm(vm).catch(() => {});
    throw error;
  }
}
