import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { openDatabase } from '../base/sqlite.ts';
import { ShadowferryError } from '../errors.ts';
import type { DeviceClaim, Ownership, OwnershipStore } from './store.ts';

const OwnershipRow = z.object({ vm: z.string(), owner: z.string(), epoch: z.number().int() });
const ClaimRow = z.object({ host: z.string(), device: z.string(), vm: z.string() });

const SCHEMAS = [
  `
  CREATE TABLE IF NOT EXISTS ownership (vm TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS claim (host TEXT NOT NULL, device TEXT NOT NULL, vm TEXT NOT NULL, PRIMARY KEY (host, device)) STRICT;
`,
];

/** Ownership on one machine. Every change is one transaction, on disk before the call returns. */
export class SqliteOwnership implements OwnershipStore {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = openDatabase(path, SCHEMAS);
  }

  async read(vm: string): Promise<Ownership | undefined> {
    const row = this.#db.prepare('SELECT vm, owner, epoch FROM ownership WHERE vm = ?').get(vm);
    return row === undefined ? undefined : OwnershipRow.parse(row);
  }

  async list(): Promise<Ownership[]> {
    const rows = this.#db.prepare('SELECT vm, owner, epoch FROM ownership ORDER BY vm').all();
    return rows.map((row) => OwnershipRow.parse(row));
  }

  async register(vm: string, owner: string): Promise<Ownership> {
    this.#db.prepare('INSERT INTO ownership VALUES (?, ?, 1) ON CONFLICT (vm) DO NOTHING').run(vm, owner);
    const now = await this.read(vm);
    if (now === undefined || now.owner !== owner) throw this.#notOwner(vm, owner, now);
    return now;
  }

  async handOver(expected: Ownership, owner: string): Promise<Ownership> {
    const epoch = expected.epoch + 1;
    const { changes } = this.#db
      .prepare('UPDATE ownership SET owner = ?, epoch = ? WHERE vm = ? AND owner = ? AND epoch = ?')
      .run(owner, epoch, expected.vm, expected.owner, expected.epoch);
    if (Number(changes) !== 1)
      throw this.#notOwner(expected.vm, expected.owner, await this.read(expected.vm));
    return { vm: expected.vm, owner, epoch };
  }

  async claimDevice(claim: DeviceClaim): Promise<void> {
    this.#db
      .prepare('INSERT INTO claim VALUES (?, ?, ?) ON CONFLICT (host, device) DO NOTHING')
      .run(claim.host, claim.device, claim.vm);
    const row = this.#db
      .prepare('SELECT * FROM claim WHERE host = ? AND device = ?')
      .get(claim.host, claim.device);
    const holder = ClaimRow.parse(row);
    if (holder.vm !== claim.vm) {
      throw new ShadowferryError('DEVICE_CLAIMED_TWICE', {
        field: `device of host ${claim.host}`,
        value: `${claim.device}" (held by VM "${holder.vm}`,
      });
    }
  }

  async releaseDevice(claim: Pick<DeviceClaim, 'host' | 'device' | 'vm'>): Promise<void> {
    this.#db
      .prepare('DELETE FROM claim WHERE host = ? AND device = ? AND vm = ?')
      .run(claim.host, claim.device, claim.vm);
  }

  async claims(host?: string): Promise<DeviceClaim[]> {
    const rows = this.#db.prepare('SELECT * FROM claim ORDER BY host, device').all();
    return rows
      .map((row) => ClaimRow.parse(row))
      .filter((claim) => host === undefined || claim.host === host);
  }

  async forget(vm: string): Promise<void> {
    this.#db.prepare('DELETE FROM ownership WHERE vm = ?').run(vm);
    this.#db.prepare('DELETE FROM claim WHERE vm = ?').run(vm);
  }

  close(): void {
    this.#db.close();
  }

  #notOwner(vm: string, host: string, now: Ownership | undefined): ShadowferryError {
    return new ShadowferryError('NOT_OWNER', {
      vm,
      host,
      owner: now?.owner ?? 'nobody',
      epoch: now?.epoch ?? 0,
    });
  }
}
