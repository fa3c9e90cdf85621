/** What this host knows of its VMs, on its disk; and what operators took upon themselves. */
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { atomically, openDatabase } from '../../base/sqlite.ts';
import { VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { OverrideNote } from '../../ownership/guard.ts';
import { Adopted } from './adopted.ts';

const SCHEMAS = [
  `
  CREATE TABLE vm (
    name TEXT PRIMARY KEY, spec TEXT NOT NULL, origin TEXT NOT NULL, adopted TEXT, left_why TEXT,
    made REAL NOT NULL, changed REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE override (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, vm TEXT NOT NULL, host TEXT NOT NULL,
    principal TEXT NOT NULL, why TEXT NOT NULL, against TEXT NOT NULL
  ) STRICT;
`,
];

/** How a VM came here: by a definition, by a migration, or running already. */
export const Origin = z.enum(['defined', 'arrived', 'adopted']);
export type Origin = z.infer<typeof Origin>;

const json = <T extends z.ZodType>(schema: T) =>
  z.string().transform((text) => schema.parse(JSON.parse(text)));

const Row = z
  .object({
    name: z.string(),
    spec: json(VmSpec),
    origin: Origin,
    adopted: json(Adopted).nullable(),
    left_why: z.string().nullable(),
    made: z.number(),
    changed: z.number(),
  })
  .transform(({ left_why: leftWhy, made: madeMs, changed: changedMs, ...row }) => ({
    ...row,
    leftWhy,
    madeMs,
    changedMs,
  }));

export interface Definition {
  name: string;
  spec: VmSpec;
  origin: Origin;
  /** What was found out about a VM that ran already. */
  adopted: Adopted | null;
  /** Why the VM is not here any more; null while it is. */
  leftWhy: string | null;
  madeMs: number;
  changedMs: number;
}

const NoteRow = z.object({
  seq: z.number().int(),
  at: z.number(),
  vm: z.string(),
  host: z.string(),
  principal: z.string(),
  why: z.string(),
  against: z.string(),
});
export type KeptOverride = OverrideNote & { seq: number; atMs: number };

/** The file of a host's VMs. A row that cannot be read stops nothing but itself: see `all`. */
export class Definitions {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = openDatabase(path, SCHEMAS);
  }

  /** All that can be read, by name; what cannot is told to `unreadable`, and stays in the file. */
  all(unreadable: (name: string, error: unknown) => void): Definition[] {
    const rows = this.#db.prepare('SELECT * FROM vm ORDER BY name').all();
    return rows.flatMap((row) => {
      try {
        return [Row.parse(row)];
      } catch (error) {
        unreadable(String(row.name), error);
        return [];
      }
    });
  }

  /** Writes a VM, new or changed; it is here from now on. @returns what is kept */
  save(vm: Pick<Definition, 'spec' | 'origin' | 'adopted'>): Definition {
    const { spec, origin, adopted } = vm;
    const now = Date.now();
    return atomically(this.#db, () => {
      this.#db
        .prepare(
          `INSERT INTO vm (name, spec, origin, adopted, left_why, made, changed) VALUES (?, ?, ?, ?, NULL, ?, ?)
           ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, origin = excluded.origin,
             adopted = excluded.adopted, left_why = NULL, changed = excluded.changed`,
        )
        .run(
          spec.name,
          JSON.stringify(spec),
          origin,
          adopted === null ? null : JSON.stringify(adopted),
          now,
          now,
        );
      return Row.parse(this.#db.prepare('SELECT * FROM vm WHERE name = ?').get(spec.name));
    });
  }

  left(name: string, why: string): void {
    this.#db.prepare('UPDATE vm SET left_why = ?, changed = ? WHERE name = ?').run(why, Date.now(), name);
  }

  forget(name: string): void {
    this.#db.prepare('DELETE FROM vm WHERE name = ?').run(name);
  }

  /** On disk when it returns: an override holds only if it was written down. */
  writeOverride({ vm, host, by, why, against }: OverrideNote): void {
    this.#db
      .prepare('INSERT INTO override (at, vm, host, principal, why, against) VALUES (?, ?, ?, ?, ?, ?)')
      .run(Date.now(), vm, host, by, why, against);
  }

  /** The newest first. @param before the number of the last one of the piece before */
  overrides(limit: number, before = Number.MAX_SAFE_INTEGER): KeptOverride[] {
    const rows = this.#db
      .prepare('SELECT * FROM override WHERE seq < ? ORDER BY seq DESC LIMIT ?')
      .all(before, limit);
    return rows.map((row) => {
      const { at: atMs, principal: by, ...rest } = NoteRow.parse(row);
      return { ...rest, by, atMs };
    });
  }

  close(): void {
    this.#db.close();
  }
}
