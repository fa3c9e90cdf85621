/**
 * What a journal forgets: entries that have ended, when they are old or there are many, a few at a time. The file keeps
 * its size and uses the room again: making it smaller would keep everybody from it for as long as copying it takes.
 */
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { atomically } from '../base/sqlite.ts';

const DAY_MS = 86_400_000;
/**
 * Nothing that is younger is forgotten, however many there are: another host may still ask how it ended, and a job of
 * the queue looks it up.
 */
const YOUNG_MS = 2 * DAY_MS;
/** Entries that are forgotten in one transaction: others wait for it, for milliseconds. */
export const PRUNED_AT_ONCE = 20;

export interface PruneRule {
  /** Entries older than so many days go. */
  days: number;
  /** Of the others, the newest so many stay. */
  entries: number;
  /** VMs of this host: how the last move of each went is not forgotten, as it says whether it lacks a device. */
  vms: readonly string[];
  nowMs: number;
}

/** The tables of a journal. All of it is text of this program. */
export interface PruneShape {
  table: string;
  /** Tables with parts of an entry, each with the column that names it. */
  parts: readonly (readonly [table: string, column: string])[];
  /** Condition on an entry, by its alias, that says that a VM was where it went. */
  moved: (alias: string) => string;
}

const Id = z.object({ id: z.string() });
const Place = z.object({ created: z.number(), id: z.string() });

/** Entries up to this one may go; by when they began, and their id. */
function boundOf(
  db: DatabaseSync,
  table: string,
  { days, entries, nowMs }: PruneRule,
): z.infer<typeof Place> {
  const old = { created: nowMs - days * DAY_MS, id: '' };
  const young = { created: nowMs - YOUNG_MS, id: '' };
  const behind = db
    .prepare(`SELECT created, id FROM ${table} ORDER BY created DESC, id DESC LIMIT 1 OFFSET ?`)
    .get(entries);
  const many = behind === undefined ? old : Place.parse(behind);
  const bound = many.created > old.created ? many : old;
  return bound.created > young.created ? young : bound;
}

/**
 * Forgets some entries, the oldest first; each goes with all its parts, or stays whole.
 * @returns how many; fewer than `PRUNED_AT_ONCE` when there is no more to forget
 */
export function pruneSome(db: DatabaseSync, { table, parts, moved }: PruneShape, rule: PruneRule): number {
  const find = db.prepare(
    `SELECT e.id FROM ${table} e
     WHERE (e.created, e.id) <= (:created, :id) AND e.ended < :young
       AND NOT (${moved('e')} AND e.vm IN (SELECT value FROM json_each(:vms)) AND e.id =
         (SELECT o.id FROM ${table} o WHERE o.vm = e.vm AND ${moved('o')}
          ORDER BY o.created DESC, o.id DESC LIMIT 1))
     ORDER BY e.created, e.id LIMIT :most`,
  );
  const remove = [
    ...parts.map(([part, column]) => db.prepare(`DELETE FROM ${part} WHERE ${column} = ?`)),
    db.prepare(`DELETE FROM ${table} WHERE id = ?`),
  ];
  const fixed = { young: rule.nowMs - YOUNG_MS, vms: JSON.stringify(rule.vms), most: PRUNED_AT_ONCE };
  return atomically(db, () => {
    const ids = find.all({ ...boundOf(db, table, rule), ...fixed }).map((row) => Id.parse(row).id);
    for (const each of ids) for (const statement of remove) statement.run(each);
    return ids.length;
  });
}
