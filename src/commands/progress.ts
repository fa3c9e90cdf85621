/** Shows a migration while it runs: JSON lines for programs, a list of phases for people. */
import { Listr } from 'listr2';
import { formatBytes, formatMs, formatRate } from '../base/units.ts';
import type { MigrationEvent, ProgressEvent } from '../migration/events.ts';
import { PHASES, type Phase } from '../migration/machine.ts';

export interface ProgressView {
  emit: (event: MigrationEvent) => void;
  /** Ends the view; `failed` marks the phase that was under way. */
  finish(failed: string | undefined): Promise<void>;
}

export function jsonProgress(write: (line: string) => void): ProgressView {
  return { emit: (event) => write(JSON.stringify(event)), finish: async () => {} };
}

const TITLES: Record<Phase, string> = {
  preflight: 'preflight: ask both sides, capture the shadow, plan',
  reserve: 'reserve: claim the device, start QEMU on the destination',
  stage: 'stage: shadow and program into the guest',
  detach: 'detach: traffic leaves the device, the guest releases it',
  copy: 'copy: memory',
  switchover: 'switchover: hand over',
  attach: 'attach: new device, replay',
  settle: 'settle: compare, clean the source',
};

const MIGRATION: ReadonlyMap<Phase, string> = new Map(PHASES.map((phase) => [phase, TITLES[phase]]));

function describe(event: ProgressEvent): string {
  const eta = event.etaMs === null ? 'no end at this rate' : `${formatMs(event.etaMs)} left`;
  const sent = `${formatBytes(event.transferred)} sent, ${formatBytes(event.remaining)} remain`;
  const dirty = event.dirtyRateBps > 0 ? `, dirtied at ${formatRate(event.dirtyRateBps)}` : '';
  const version = event.version === undefined ? '' : `, version ${event.version}`;
  return `${sent}, ${formatRate(event.rateBps)}${dirty}, ${eta}${version} (${event.reason})`;
}

interface Slot {
  begun: PromiseWithResolvers<void>;
  ended: PromiseWithResolvers<void>;
  say: (text: string) => void;
}

/**
 * A list of the phases that fills as they end; plain lines where the output is no terminal, and with `plain` (where
 * something else is written in between).
 */
export function listProgress(plain = false, titles: ReadonlyMap<Phase, string> = MIGRATION): ProgressView {
  const slots = new Map<Phase, Slot>();
  for (const phase of titles.keys()) {
    const ended = Promise.withResolvers<void>();
    ended.promise.catch(() => {}); // told through the list
    slots.set(phase, { begun: Promise.withResolvers<void>(), ended, say: () => {} });
  }
  let current: Phase | undefined;
  const over = new AbortController();
  const list = new Listr(
    [...slots].map(([phase, slot]) => ({
      title: titles.get(phase) ?? phase,
      task: async (_, task) => {
        slot.say = (text) => {
          task.output = text;
        };
        await slot.begun.promise;
        if (over.signal.aborted && current !== phase) return task.skip();
        await slot.ended.promise;
      },
    })),
    {
      concurrent: false,
      exitOnError: false,
      fallbackRendererCondition: plain,
      // its own would end the process at Ctrl-C, with the migration half done
      registerSignalListeners: false,
      rendererOptions: { collapseErrors: false, showErrorMessage: true },
    },
  );
  const running = list.run();
  const slotOf = (phase: Phase | undefined) => (phase === undefined ? undefined : slots.get(phase));
  return {
    emit(event) {
      switch (event.type) {
        case 'phase':
          slotOf(current)?.ended.resolve();
          current = event.phase;
          slotOf(current)?.begun.resolve();
          break;
        case 'progress':
          slotOf(event.phase)?.say(describe(event));
          break;
        case 'decision':
          slotOf(current)?.say(`${event.action}: ${event.reason}`);
          break;
        case 'undo':
          slotOf(current)?.say(`taking back: ${event.what}`);
          break;
        case 'warning': // in the table at the end
        case 'mark':
          break;
        default:
          event satisfies never;
      }
    },
    async finish(failed) {
      over.abort();
      if (failed === undefined) slotOf(current)?.ended.resolve();
      else slotOf(current)?.ended.reject(new Error(failed));
      for (const slot of slots.values()) slot.begun.resolve();
      await running;
    },
  };
}
