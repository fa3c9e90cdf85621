/** Watches a running copy with the strategy's eyes, does what it decides, and keeps what it saw. */
import { nowMs } from '../../base/clock.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { migrateSetParameters, migrateStartPostcopy, queryDirtyRate } from '../../hypervisor/qmp/commands.ts';
import type { MigrationInfo } from '../../hypervisor/qmp/migration-info.ts';
import { optionsOf, type StrategyOptions } from '../../memory/strategy/options.ts';
import { type CopyState, initialCopy } from '../../memory/strategy/state.ts';
import { type CopyDecision, type CopyFacts, supervise } from '../../memory/strategy/supervise.ts';
import { type CopyTrace, rowOf, worthKeeping } from '../../memory/strategy/trace.ts';
import type { CopySample } from '../../memory/version/sample.ts';
import { versionText } from '../../memory/version/version.ts';
import { NOTE } from '../history.ts';
import { decide, type Run, warn } from '../run.ts';
import type { Preflight } from './preflight.ts';

/** A decision is told again when it changes, or after so long, ms: waiting is decided at every round. */
const TELL_AGAIN_MS = 5000;

/** The measurement of preflight is there by then, or does not come. */
const LEARN_MS = 5000;

function sampleOf({ ram, ...info }: MigrationInfo, atMs: number): CopySample | undefined {
  if (ram === undefined) return undefined;
  const { transferred, remaining, total } = ram;
  return {
    ...{ atMs, transferred, remaining, total, round: ram['dirty-sync-count'] },
    ...{ dirtyPages: ram['dirty-pages-rate'], pageSize: ram['page-size'] },
    throttlePercent: info['cpu-throttle-percentage'] ?? 0,
  };
}

/** One copy of memory, from its first byte until QEMU says that it is over or stands before the switchover. */
export class CopyWatch {
  readonly #run: Run;
  readonly #options: StrategyOptions;
  readonly #facts: CopyFacts;
  readonly #begunMs = nowMs();
  readonly #switched: boolean;
  readonly #samples: CopySample[] = [];
  readonly #decisions: CopyTrace['decisions'] = [];
  #state: CopyState;
  #changeKnownFrom: number | undefined;
  #end = 'none';
  #told: { action: string; atMs: number } | undefined;

  constructor(run: Run, preflight: Preflight) {
    const { limits, downtimeLimitMs: maxDowntimeMs, tuning } = run.request;
    this.#run = run;
    this.#options = optionsOf(tuning);
    this.#facts = {
      ...{ budgetMs: limits.copyMs, stallMs: limits.stallMs, maxDowntimeMs },
      postcopyAllowed: preflight.postcopyAllowed,
      throttleOffered: preflight.throttleOffered,
    };
    this.#switched = preflight.strategy === 'postcopy';
    this.#state = initialCopy(this.#start(preflight.owned.epoch), this.#options);
  }

  #start(release: number): CopyTrace['start'] {
    return { release, switched: this.#switched, maxDowntimeMs: this.#facts.maxDowntimeMs };
  }

  /** Version of the memory, as text. */
  get version(): string {
    return versionText(this.#state.version);
  }

  /**
   * Looks at what QEMU reports now, and does what is decided.
   * @throws MIGRATION_FAILED when the strategy takes the copy back
   */
  async look(info: MigrationInfo): Promise<void> {
    this.#end = info.status;
    const atMs = nowMs() - this.#begunMs;
    if (atMs < LEARN_MS) await this.#learnChange();
    const sample = sampleOf(info, atMs);
    if (sample === undefined) return;
    if (worthKeeping(sample, this.#samples.at(-1))) this.#samples.push(sample);
    const { state, decision } = supervise(this.#state, sample, this.#facts, this.#options);
    this.#state = state;
    if (decision.action === 'continue') return;
    this.#tell(decision, sample.atMs);
    await this.#act(decision);
  }

  /** Writes what was seen into the journal. */
  keep(): void {
    const { monitor } = this.#run.source.qemu;
    const last = this.#samples.at(-1);
    const { changeBps, ...facts } = this.#facts;
    const trace: CopyTrace = {
      format: 1,
      qemu: `${monitor.version.major}.${monitor.version.minor}.${monitor.version.micro}`,
      start: this.#start(this.#state.version.release),
      facts: {
        ...facts,
        ...(changeBps === undefined ? {} : { changeBps: Math.round(changeBps) }),
        ...(this.#changeKnownFrom === undefined ? {} : { changeKnownFrom: this.#changeKnownFrom }),
      },
      options: this.#options,
      total: last?.total ?? 0,
      pageSize: last?.pageSize ?? 4096,
      samples: this.#samples.map(rowOf),
      decisions: this.#decisions,
      version: this.version,
      end: this.#end,
    };
    this.#run.journal.note(this.#run.id, NOTE.version, this.version);
    this.#run.journal.note(this.#run.id, NOTE.trace, JSON.stringify(trace));
  }

  /** Preflight asked QEMU to measure how much the guest changes; the answer comes a second later. */
  async #learnChange(): Promise<void> {
    if (this.#facts.changeBps !== undefined || this.#state.switchedAtMs !== undefined) return;
    const { monitor } = this.#run.source.qemu;
    // one that does not answer this leaves it unknown
    const changeBps = await queryDirtyRate(monitor).catch(() => undefined);
    if (changeBps === undefined) return;
    this.#facts.changeBps = changeBps;
    this.#changeKnownFrom = this.#samples.length;
  }

  #tell(decision: CopyDecision, atMs: number): void {
    const { action, reason } = decision;
    this.#decisions.push({ atMs: Math.round(atMs), action, reason });
    const told = this.#told;
    if (action === 'wait' && told?.action === action && atMs - told.atMs < TELL_AGAIN_MS) return;
    this.#told = { action, atMs };
    decide(this.#run, { action, reason });
  }

  async #act(decision: CopyDecision): Promise<void> {
    const { monitor } = this.#run.source.qemu;
    switch (decision.action) {
      case 'raise-downtime':
        return migrateSetParameters(monitor, { 'downtime-limit': decision.downtimeMs });
      case 'postcopy':
        return migrateStartPostcopy(monitor);
      case 'throttle': {
        const { throttleInitial, throttleIncrement, throttleMax } = this.#options;
        return migrateSetParameters(monitor, {
          'cpu-throttle-initial': throttleInitial,
          'cpu-throttle-increment': throttleIncrement,
          'max-cpu-throttle': throttleMax,
          'throttle-trigger-threshold': 1,
        });
      }
      case 'abort':
        throw new ShadowferryError('MIGRATION_FAILED', { why: decision.reason });
      case 'wait':
      case 'observe':
      case 'continue':
        return;
      default:
        decision satisfies never;
    }
  }
}

/** Keeps what was seen; that it cannot be kept is no reason to stop. Takes time: not while the VM stands still. */
export function keepQuietly(run: Run, watch: CopyWatch): void {
  try {
    watch.keep();
  } catch (error) {
    warn(run, `what the copy looked like was not kept: ${reasonOf(error)}`);
  }
}
