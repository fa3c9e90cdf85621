/** Keeps the journals from growing without end, a little at a time, when no migration is under way. */
import type { Logger } from 'pino';
import { pauseFor } from '../../base/pause-for.ts';
import { PRUNED_AT_ONCE, type PruneRule } from '../../migration/prune.ts';

/** Between two looks for what may be forgotten, ms. */
const EVERY_MS = 3_600_000;
/** Between two transactions: others write meanwhile. */
const PAUSE_MS = 100;

export interface ForgetOptions {
  /** By what they are called in the log. */
  journals: Readonly<Record<string, { prune: (rule: PruneRule) => number }>>;
  keep: Pick<PruneRule, 'days' | 'entries'>;
  /** VMs of this host. */
  vms: () => readonly string[];
  /** A migration is under way: its writes wait for nobody. */
  busy: () => boolean;
  log: Pick<Logger, 'info' | 'warn'>;
  everyMs?: number;
  pauseMs?: number;
}

/** Looks from now on, until it is stopped. @returns what stops it */
export function keepForgetting(options: ForgetOptions): () => Promise<void> {
  const { everyMs = EVERY_MS, pauseMs = PAUSE_MS } = options;
  const stopped = new AbortController();
  const { signal } = stopped;
  const rest = (ms: number) => pauseFor(ms, signal, { ref: false });
  const done = (async () => {
    while (!signal.aborted) {
      await rest(pauseMs); // the start comes first
      for (const name of Object.keys(options.journals)) {
        const forgotten = await forgetIn(name, options, () => rest(pauseMs), signal);
        if (forgotten > 0) options.log.info({ journal: name, entries: forgotten }, 'forgot old migrations');
      }
      await rest(everyMs);
    }
  })();
  return () => {
    stopped.abort();
    return done;
  };
}

/** @returns how many entries went */
async function forgetIn(
  name: string,
  { journals, keep, vms, busy, log }: ForgetOptions,
  pause: () => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  let forgotten = 0;
  try {
    while (!signal.aborted) {
      if (!busy()) {
        const some = journals[name]?.prune({ ...keep, vms: vms(), nowMs: Date.now() }) ?? 0;
        forgotten += some;
        if (some < PRUNED_AT_ONCE) break;
      }
      await pause();
    }
  } catch (error) {
    log.warn({ err: error, journal: name }, 'old migrations cannot be forgotten now');
  }
  return forgotten;
}
