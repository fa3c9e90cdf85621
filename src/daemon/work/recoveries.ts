/** Takes open migrations that a process left behind to their end, one after the other of each VM, until it is done. */

import type { Logger } from 'pino';
import { pauseFor } from '../../base/pause-for.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import type { Journal, JournalMigration } from '../../migration/journal.ts';
import { backoffMs } from '../../migration/queue/queue.ts';
import type { RecoverMigration, RecoveryDependencies } from '../../migration/recovery/model.ts';
import type { MigrationResult } from '../../migration/result.ts';
import { disconnectVm } from '../../migration/vm.ts';
import { jobOfAttempt } from './job.ts';
import { type Publish, Teller } from './tell.ts';
import type { WorkMetrics } from './work-metrics.ts';

/** What is needed of the registry of VMs: nobody else works with the VM meanwhile, and its connections are free. */
export interface VmLender {
  /** @throws VM_BUSY */
  borrow<T>(name: string, why: string, act: () => Promise<T>): Promise<T>;
}

export interface RecoveriesOptions {
  vms: VmLender;
  recover: RecoverMigration;
  openJournal: () => Journal;
  /** Whether an open migration is this daemon's: another program may write into the same journal. */
  ours: (entry: JournalMigration) => boolean;
  /** What a recovery is given besides. @throws UNKNOWN_HOST for a destination that is not configured any more */
  dependencies: (entry: JournalMigration) => Omit<RecoveryDependencies, 'journal' | 'emit' | 'signal'>;
  /** Called at once when one has ended, before anybody can look at the journal. */
  ended: (entry: JournalMigration, result: MigrationResult) => void;
  publish: Publish;
  metrics: WorkMetrics;
  log: Logger;
}

export class Recoveries {
  readonly #options: RecoveriesOptions;
  /** By VM: the migration that is recovered. */
  readonly #under = new Map<string, string>();
  readonly #stop = new AbortController();
  readonly #all = new Set<Promise<void>>();

  constructor(options: RecoveriesOptions) {
    this.#options = options;
  }

  /** The migration of a VM that is being recovered. */
  under(vm: string): string | undefined {
    return this.#under.get(vm);
  }

  /** Begins with one; does nothing for a VM of which one is recovered already, as it comes to the others by itself. */
  begin(entry: Pick<JournalMigration, 'id' | 'vm'>): void {
    const { id, vm } = entry;
    if (this.#under.has(vm) || this.#stop.signal.aborted) return;
    this.#under.set(vm, id);
    const done = this.#untilDone(vm).finally(() => this.#all.delete(done));
    this.#all.add(done);
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    while (this.#all.size > 0) await Promise.all(this.#all);
  }

  /** Ends them; what is open stays so for the next process. */
  async stop(): Promise<void> {
    this.#stop.abort(new ShadowferryError('DAEMON_STOPPING', {}));
    await this.idle();
  }

  /** All open migrations of a VM, the oldest first. */
  async #untilDone(vm: string): Promise<void> {
    const { openJournal, ours, log } = this.#options;
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const journal = openJournal();
        try {
          const entry = journal.migrations({ vm, open: true }).find(ours);
          if (entry === undefined) break;
          this.#under.set(vm, entry.id);
          await this.#recover(entry, journal);
          failures = 0;
        } finally {
          journal.dispose();
        }
      } catch (error) {
        if (signal.aborted) break;
        const id = this.#under.get(vm) ?? '';
        const why = reasonOf(error);
        log.error(
          { err: error, migration: id, vm },
          'an open migration was not recovered; it is tried again',
        );
        this.#options.publish('migration.recovery-failed', { id: jobOfAttempt(id), vm, why });
        await pauseFor(backoffMs(failures, Math.random()), signal);
        failures += 1;
      }
    }
    this.#under.delete(vm);
  }

  async #recover(entry: JournalMigration, journal: Journal): Promise<void> {
    const { vms, recover, dependencies, ended, publish, metrics, log } = this.#options;
    const { id: attempt, vm } = entry;
    const id = jobOfAttempt(attempt);
    const teller = new Teller({ id, attempt, vm }, publish, log);
    const given = dependencies(entry);
    await vms.borrow(vm, `recovery of migration ${id}`, async () => {
      publish('migration.recovering', { id, vm });
      const recovered = await recover(entry, {
        ...given,
        ...{ journal, emit: teller.emit, signal: this.#stop.signal },
      });
      ended(entry, recovered.result);
      metrics.recoveries.inc({ outcome: recovered.result.ending });
      metrics.ended(recovered.result);
      // the registry looks for it again, and keeps connections of its own
      if (recovered.vm !== undefined) await disconnectVm(recovered.vm);
    });
  }
}
