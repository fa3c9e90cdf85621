/** What the journal says of migrations that are over or should be. Reads only. */
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { NetShadow } from '../shadow/net/model.ts';
import { ReplayPlan } from '../shadow/net/plan-model.ts';
import type { Journal, JournalMigration } from './journal.ts';
import { HandOverText } from './protocol/messages.ts';
import type { HandOver } from './protocol/record.ts';
import { swapOf } from './swap/history.ts';

/** Kinds of notes that a later process needs. */
export const NOTE = {
  /** The shadow as one device left it, and the plan that was put into the guest: JSON of `StagedNote`. */
  staged: 'staged',
  /** From which record the VM is to be handed over: JSON of `HandOver`. */
  handOver: 'hand-over',
  /** The store is asked for the commit. */
  asked: 'asked',
  /** What the copy looked like: JSON of `CopyTrace`. */
  trace: 'copy-trace',
  /** Version of the VM's memory when the copy ended. */
  version: 'memory-version',
  /** A degraded VM has its device again. */
  reattached: 'reattached',
} as const;

export const StagedNote = z.object({ nic: z.string(), shadow: NetShadow, plan: ReplayPlan });
export type StagedNote = z.infer<typeof StagedNote>;

/**
 * What a daemon that finds a migration in its journal must know of the hand-over; undefined when it did not come so far
 * that anything was touched. `asked`: the question may be on its way to the store.
 */
export function handOverOf(
  journal: Journal,
  migration: string,
): { handOver: HandOver; asked: boolean } | undefined {
  const notes = journal.notes(migration);
  const noted = notes.findLast(({ kind }) => kind === NOTE.handOver);
  if (noted === undefined) return undefined;
  const handOver = HandOverText.parse(JSON.parse(noted.text));
  return { handOver, asked: notes.some(({ kind }) => kind === NOTE.asked) };
}

const Summary = z.object({
  totalMs: z.number(),
  blackoutMs: z.number().nullable(),
  memoryBytes: z.number(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
});
export type Summary = z.infer<typeof Summary>;

/** Figures of a migration's result; undefined while it runs. */
export function summaryOf(migration: JournalMigration): Summary | undefined {
  if (migration.result === null) return undefined;
  return Summary.safeParse(JSON.parse(migration.result)).data;
}

/** The migration of a VM that the journal holds open: under way, or left by a process that ended. */
export function openMigration(journal: Journal, vm: string): JournalMigration | undefined {
  return journal.migrations({ vm, open: true })[0];
}

/** @throws MIGRATION_BUSY: only the command of a migration may talk to its VM. */
export function refuseBusy(journal: Journal, vm: string): void {
  const open = openMigration(journal, vm);
  if (open !== undefined) throw new ShadowferryError('MIGRATION_BUSY', { vm, id: open.id });
}

/** The degraded migration that the VM still suffers from. */
export function degradedMigration(journal: Journal, vm: string): JournalMigration | undefined {
  const last = journal
    .migrations({ vm })
    .findLast(({ ending }) => ending === 'completed' || ending === 'degraded');
  if (last?.ending !== 'degraded') return undefined;
  return journal.notes(last.id).some(({ kind }) => kind === NOTE.reattached) ? undefined : last;
}

/** The reason that a degraded migration gave. */
export const degradedWhy = (migration: JournalMigration): string =>
  summaryOf(migration)?.error?.message ?? 'its device is missing';

/** What was staged in a migration, the last of each NIC; none when it never came so far. */
export function stagedOf(journal: Journal, migration: string): Map<string, StagedNote> {
  const staged = journal.notes(migration).filter(({ kind }) => kind === NOTE.staged);
  return new Map(
    staged.map(({ text }) => {
      const note = StagedNote.parse(JSON.parse(text));
      return [note.nic, note];
    }),
  );
}

/** Figures of the last migration of this VM that went well: the best that is known beforehand. */
export function lastFigures(journal: Journal, vm: string): (Summary & { id: string }) | undefined {
  const last = journal
    .migrations({ vm })
    .findLast((entry) => entry.ending === 'completed' && swapOf(entry) === undefined);
  const summary = last === undefined ? undefined : summaryOf(last);
  return last === undefined || summary === undefined ? undefined : { ...summary, id: last.id };
}
