/** Takes a swap back from what the journal holds. Each undo may be repeated without harm. */
import { nowMs } from '../../base/clock.ts';
import { reasonOf } from '../../errors.ts';
import { forgetPersisted, PERSIST_MS } from '../../shadow/net/manager/persist.ts';
import { undoTelling } from '../guest-manager.ts';
import { waitAfter } from '../run.ts';
import type { Undo } from '../undo.ts';
import { endProgram } from './phases.ts';
import type { SwapRun } from './run.ts';

/** A guest that was slow to release its device may still do it; only then can it be plugged again. */
const LATE_UNPLUG_MS = 3_000;

/** What stays for the device that comes next: its program, the way round it, and the manager that was told. */
const FOR_THE_NEXT: ReadonlySet<Undo['kind']> = new Set([
  'remove-program',
  'standby-link-down',
  'give-interface-back',
]);

async function reattach(run: SwapRun): Promise<void> {
  const { site, request, facts } = run;
  const { attachMs, unplugMs } = request.limits;
  if (facts.unplugged) {
    // what is there now is the new device, which the guest did not take, or not wholly
    if (await site.isPlugged()) await site.unplug('new', waitAfter('the unplug of the new device', unplugMs));
  } else if (!facts.leaving) return;
  // an unplug that was asked for and not answered may still come: plugging before it would lose the device
  const gone = facts.unplugged || (await site.lateUnplug(LATE_UNPLUG_MS));
  const done = site.channel.waitFor(
    (event) => event.e === 'done',
    waitAfter('traffic on the old device', attachMs),
  );
  site.channel.send('rollback');
  if (gone) await site.plug('old');
  await done;
  run.timeline.mark('traffic on the old device');
  await site.announce('old');
}

async function perform(run: SwapRun, undo: Undo): Promise<void> {
  const { site } = run;
  switch (undo.kind) {
    case 'reattach':
      return reattach(run);
    case 'stop-answering':
      return site.answer([]);
    case 'standby-link-down':
      return site.standbyLink(false);
    case 'remove-program':
      return endProgram(site, run.request.limits.agentMs);
    case 'unprepare-device':
      return site.unprepare();
    case 'release-device':
      return site.release('new');
    case 'forget-persisted':
      return forgetPersisted(
        site.shell,
        undo.nic,
        waitAfter('removing what was written for the next boot', PERSIST_MS),
      );
    case 'give-interface-back':
      return undoTelling(run, site.shell, undo.nic);
    case 'remove-tap': // belongs to migrations, as these do
    case 'remove-disk':
    case 'stop-mirror':
    case 'end-destination':
    case 'cancel-copy':
      return;
    default:
      return undo satisfies never;
  }
}

/**
 * Undoes every step of the journal, last first; goes on after one that fails, but keeps the program where it is when no
 * device came back: it gives the next one its state.
 * @returns what could not be undone, a sentence each.
 */
export async function rollBackSwap(run: SwapRun): Promise<string[]> {
  const left: string[] = [];
  let headless = false;
  for (const entry of run.journal.steps(run.id).reverse()) {
    if (entry.status === 'undone') continue;
    let whole = true;
    for (const undo of entry.undo.toReversed()) {
      if (headless && FOR_THE_NEXT.has(undo.kind)) continue;
      run.emit({ type: 'undo', atMs: run.timeline.relative(), what: undo.kind });
      const begun = nowMs();
      try {
        await perform(run, undo);
        run.journal.note(run.id, 'undo', `${undo.kind} in ${Math.round(nowMs() - begun)} ms`);
      } catch (error) {
        whole = false;
        headless ||= undo.kind === 'reattach';
        left.push(`${undo.kind}: ${reasonOf(error)}`);
        run.journal.end(run.id, entry.seq, 'undo-failed', { error: reasonOf(error) });
      }
    }
    if (whole) run.journal.end(run.id, entry.seq, 'undone');
  }
  return left;
}
