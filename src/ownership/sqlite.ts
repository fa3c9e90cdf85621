import { randomUUID } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { atomically, openDatabase } from '../base/sqlite.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import {
  type ClaimValue,
  claimed,
  deviceClaim,
  forgotten,
  frees,
  handedOver,
  notOwner,
  ownershipOf,
  registered,
  resolution,
  VmRecord,
} from './record.ts';
import type {
  ClaimRequest,
  DeviceClaim,
  HandOverAttempt,
  HandOverOptions,
  HandOverOutcome,
  Ownership,
  OwnershipStore,
} from './store.ts';

const OwnershipRow = z.object({
  vm: z.string(),
  owner: z.string().nullable(),
  epoch: z.number().int(),
  changes: z.string(),
});
const ClaimRow = z.object({
  host: z.string(),
  device: z.string(),
  vm: z.string(),
  migration: z.string().nullable(),
  at_ms: z.number(),
});

const SCHEMAS = [
  `
  CREATE TABLE IF NOT EXISTS ownership (vm TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS claim (host TEXT NOT NULL, device TEXT NOT NULL, vm TEXT NOT NULL, PRIMARY KEY (host, device)) STRICT;
`,
  `
  CREATE TABLE record (vm TEXT PRIMARY KEY, owner TEXT, epoch INTEGER NOT NULL, changes TEXT NOT NULL DEFAULT '[]') STRICT;
  INSERT INTO record (vm, owner, epoch) SELECT vm, owner, epoch FROM ownership;
  DROP TABLE ownership;
  ALTER TABLE record RENAME TO ownership;
  ALTER TABLE claim ADD COLUMN migration TEXT;
  ALTER TABLE claim ADD COLUMN at_ms REAL NOT NULL DEFAULT 0;
`,
];

/**
 * Ownership on one machine. Every change is one transaction, on disk before the call returns; whether it happened is
 * always known, but by a process that died on the way.
 */
export class SqliteOwnership implements OwnershipStore {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = openDatabase(path, SCHEMAS);
  }

  async read(vm: string, signal?: AbortSignal): Promise<Ownership | undefined> {
    return this.#look(signal, () => ownershipOf(vm, this.#record(vm)));
  }

  async list(signal?: AbortSignal): Promise<Ownership[]> {
    return this.#look(signal, () =>
      this.#db
        .prepare('SELECT * FROM ownership ORDER BY vm')
        .all()
        .map((row) => OwnershipRow.parse(row))
        .flatMap(({ vm, owner, epoch }) => (owner === null ? [] : [{ vm, owner, epoch }])),
    );
  }

  async register(vm: string, owner: string, signal?: AbortSignal): Promise<Ownership> {
    return this.#change(signal, () => {
      const before = this.#record(vm);
      const after = registered(vm, owner, before, Date.now());
      if (after !== undefined) this.#write(vm, after);
      const now = ownershipOf(vm, after ?? before);
      if (now === undefined) throw notOwner(vm, owner, before);
      return now;
    });
  }

  async handOver(expected: Ownership, owner: string, options: HandOverOptions = {}): Promise<Ownership> {
    const { attempt = randomUUID(), signal } = options;
    const { vm } = expected;
    return this.#change(signal, () => {
      const after = handedOver({ attempt, expected, to: owner }, this.#record(vm), Date.now());
      if (after !== undefined) this.#write(vm, after);
      return { vm, owner, epoch: expected.epoch + 1 };
    });
  }

  async resolveHandOver(attempt: HandOverAttempt, signal?: AbortSignal): Promise<HandOverOutcome> {
    const { vm } = attempt.expected;
    return this.#change(signal, () => {
      const found = resolution(attempt, this.#record(vm), Date.now());
      if (found.known !== undefined) return found.known;
      this.#write(vm, found.withdraw);
      const record = ownershipOf(vm, found.withdraw);
      return { action: 'withdrawn', reason: 'it had not been committed', record };
    });
  }

  async claimDevice(claim: ClaimRequest, signal?: AbortSignal): Promise<void> {
    const { host, device } = claim;
    this.#change(signal, () => {
      const after = claimed(claim, this.#claim(host, device), Date.now());
      if (after === undefined) return;
      this.#db
        .prepare('INSERT OR REPLACE INTO claim (host, device, vm, migration, at_ms) VALUES (?, ?, ?, ?, ?)')
        .run(host, device, after.vm, after.migration ?? null, after.atMs);
    });
  }

  async releaseDevice(claim: ClaimRequest, signal?: AbortSignal): Promise<void> {
    const { host, device } = claim;
    this.#change(signal, () => {
      const held = this.#claim(host, device);
      if (held === undefined || !frees(claim, held)) return;
      this.#db.prepare('DELETE FROM claim WHERE host = ? AND device = ?').run(host, device);
    });
  }

  async claims(host?: string, signal?: AbortSignal): Promise<DeviceClaim[]> {
    return this.#look(signal, () => {
      const rows = this.#db.prepare('SELECT * FROM claim ORDER BY host, device').all();
      return rows
        .map((row) => ClaimRow.parse(row))
        .filter((row) => host === undefined || row.host === host)
        .map((row) => deviceClaim(row.host, row.device, claimOf(row)));
    });
  }

  async forget(vm: string, signal?: AbortSignal): Promise<void> {
    this.#change(signal, () => {
      this.#db.prepare('DELETE FROM claim WHERE vm = ?').run(vm);
      const after = forgotten(this.#record(vm));
      if (after !== undefined) this.#write(vm, after);
    });
  }

  close(): void {
    this.#db.close();
  }

  #record(vm: string): VmRecord | undefined {
    const found = this.#db.prepare('SELECT * FROM ownership WHERE vm = ?').get(vm);
    if (found === undefined) return undefined;
    const { owner, epoch, changes } = OwnershipRow.parse(found);
    return VmRecord.parse({ owner, epoch, changes: JSON.parse(changes) });
  }

  #write(vm: string, { owner, epoch, changes }: VmRecord): void {
    this.#db
      .prepare('INSERT OR REPLACE INTO ownership (vm, owner, epoch, changes) VALUES (?, ?, ?, ?)')
      .run(vm, owner, epoch, JSON.stringify(changes));
  }

  #claim(host: string, device: string): ClaimValue | undefined {
    const row = this.#db.prepare('SELECT * FROM claim WHERE host = ? AND device = ?').get(host, device);
    return row === undefined ? undefined : claimOf(ClaimRow.parse(row));
  }

  #change<T>(signal: AbortSignal | undefined, act: () => T): T {
    return this.#look(signal, () => atomically(this.#db, act));
  }

  /** @throws STORE_UNREACHABLE for what SQLite says, STORE_DAMAGED for what is not a row of ours */
  #look<T>(signal: AbortSignal | undefined, act: () => T): T {
    signal?.throwIfAborted();
    try {
      return act();
    } catch (error) {
      if (error instanceof ShadowferryError) throw error;
      if (error instanceof z.ZodError || error instanceof SyntaxError) {
        const problem =
          error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', ' ') : error.message;
        throw new ShadowferryError('STORE_DAMAGED', { key: 'a VM or device', problem }, { cause: error });
      }
      throw new ShadowferryError('STORE_UNREACHABLE', { why: reasonOf(error) }, { cause: error });
    }
  }
}

function claimOf({ vm, migration, at_ms }: z.infer<typeof ClaimRow>): ClaimValue {
  return { vm, atMs: at_ms, ...(migration === null ? {} : { migration }) };
}
