/**
 * The versions of the shadows of VMs, on disk: what each direct device's state was, what changed and when, and who saw
 * it. A capture that shows nothing new makes no version; it only says that the last one was still true. Several
 * processes may write at once, and each change is one transaction: a process that is killed leaves nothing half done.
 */
import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { z } from 'zod';
import { atomically, openDatabase } from '../../base/sqlite.ts';
import { type Attribute, NetShadow } from '../net/model.ts';
import { type Change, changesBetween, comparedOf } from './changes.ts';
import { labelText, nextLabel, parseLabel } from './label.ts';

/**
 * How much of the past is kept of each NIC: the newest versions up to this number and, of those, as many as fit into
 * this many bytes, but always the newest. Older ones go with the next one that comes.
 */
export const RETENTION = { versions: 256, bytes: 64 * 1024 * 1024 } as const;

/** Who captured it: a migration before the device left, one afterwards, the watch, a command. */
export const SeenBy = z.enum(['stage', 'settle', 'watch', 'show', 'swap', 'rescue', 'attach']);
export type SeenBy = z.infer<typeof SeenBy>;

/** One version of the shadow of one NIC. */
export interface ShadowVersion {
  vm: string;
  nic: string;
  /** Grows by one with every version of this NIC, from 1. */
  seq: number;
  /** QAVNS, `1.0.2.0`: see label.ts. */
  label: string;
  by: SeenBy;
  /** When it was seen first and last, ms since the epoch, and how often. */
  atMs: number;
  lastSeenMs: number;
  seen: number;
  /** How many attributes it has, and how many are others than in the version before. */
  attributes: number;
  changed: number;
}

export interface Recorded {
  version: ShadowVersion;
  /** Whether this is a new version. */
  isNew: boolean;
  /** What changed since the version before; empty for the first one. */
  changes: Change[];
}

const SCHEMAS = [
  `
  CREATE TABLE IF NOT EXISTS content (hash TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS version (
    vm TEXT NOT NULL, nic TEXT NOT NULL, seq INTEGER NOT NULL, label TEXT NOT NULL, identity TEXT NOT NULL,
    content TEXT NOT NULL REFERENCES content (hash), seen_by TEXT NOT NULL, at REAL NOT NULL, last_seen REAL NOT NULL,
    seen INTEGER NOT NULL, attributes INTEGER NOT NULL, changed INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (vm, nic, seq)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS version_content ON version (content);
  CREATE TABLE IF NOT EXISTS change (
    vm TEXT NOT NULL, nic TEXT NOT NULL, seq INTEGER NOT NULL, key TEXT NOT NULL, was TEXT, is_now TEXT,
    PRIMARY KEY (vm, nic, seq, key), FOREIGN KEY (vm, nic, seq) REFERENCES version (vm, nic, seq) ON DELETE CASCADE
  ) STRICT;
`,
];

const Row = z.object({
  vm: z.string(),
  nic: z.string(),
  seq: z.number().int(),
  label: z.string(),
  identity: z.string(),
  content: z.string(),
  seen_by: SeenBy,
  at: z.number(),
  last_seen: z.number(),
  seen: z.number().int(),
  attributes: z.number().int(),
  changed: z.number().int(),
});
type Row = z.infer<typeof Row>;

const ChangeRow = z.object({ key: z.string(), was: z.string().nullable(), is_now: z.string().nullable() });

function versionOf({ identity: _, content: __, seen_by: by, at, last_seen, ...rest }: Row): ShadowVersion {
  return { ...rest, by, atMs: at, lastSeenMs: last_seen };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The same text for the same state, whatever the order in which the compared things were found. */
function identityOf(attributes: readonly Attribute[]): string {
  return hashOf(JSON.stringify(attributes.map(({ key, value }) => [key, value])));
}

export class ShadowStore {
  readonly #db: DatabaseSync;
  readonly #retention: { versions: number; bytes: number };

  /** Opens or makes the store in a file. */
  constructor(path: string, retention: { versions: number; bytes: number } = RETENTION) {
    this.#retention = retention;
    this.#db = openDatabase(path, SCHEMAS);
  }

  /**
   * Takes in what was captured; on disk when it returns.
   * @param atMs when it was captured, ms since the epoch
   */
  record(vm: string, nic: string, shadow: NetShadow, by: SeenBy, atMs: number = Date.now()): Recorded {
    const attributes = comparedOf(shadow);
    const identity = identityOf(attributes);
    return atomically(this.#db, () => {
      const last = this.#lastRow(vm, nic);
      // compared anew, not by what was written: more may be compared now than when that version was made
      const before = last === undefined ? undefined : this.#read(last.content);
      const changes = before === undefined ? [] : changesBetween(comparedOf(before), attributes);
      const same = last?.identity === identity || (before !== undefined && changes.length === 0);
      if (last === undefined || !same)
        return this.#add({ vm, nic, shadow, by, atMs, attributes, identity, last, changes });
      const content = this.#keep(shadow);
      this.#db
        .prepare(
          `UPDATE version SET content = ?, identity = ?, last_seen = max(last_seen, ?), seen = seen + 1
           WHERE vm = ? AND nic = ? AND seq = ?`,
        )
        .run(content.hash, identity, atMs, vm, nic, last.seq);
      if (content.hash !== last.content) this.#dropUnused(last.content);
      return { version: this.#need(vm, nic, last.seq), isNew: false, changes: [] };
    });
  }

  /** The newest version of a NIC; undefined when it was never seen. */
  last(vm: string, nic: string): ShadowVersion | undefined {
    const row = this.#lastRow(vm, nic);
    return row === undefined ? undefined : versionOf(row);
  }

  /** A version by its number; undefined when there is none (any more). */
  version(vm: string, nic: string, seq: number): ShadowVersion | undefined {
    const row = this.#row(vm, nic, seq);
    return row === undefined ? undefined : versionOf(row);
  }

  /** All versions that are kept of a NIC, the oldest first. */
  versions(vm: string, nic: string): ShadowVersion[] {
    const rows = this.#db.prepare('SELECT * FROM version WHERE vm = ? AND nic = ? ORDER BY seq').all(vm, nic);
    return rows.map((row) => versionOf(Row.parse(row)));
  }

  /** The NICs of a VM of which something is known. */
  nics(vm: string): string[] {
    const rows = this.#db.prepare('SELECT DISTINCT nic FROM version WHERE vm = ? ORDER BY nic').all(vm);
    return rows.map((row) => z.object({ nic: z.string() }).parse(row).nic);
  }

  /**
   * The newest version of each NIC, by VM and NIC.
   * @param after the last one of the piece before
   */
  newest(
    filter: { vm?: string | undefined },
    limit: number,
    after?: readonly [vm: string, nic: string],
  ): ShadowVersion[] {
    const [vm = '', nic = ''] = after ?? [];
    return this.#db
      .prepare(
        `SELECT * FROM version AS v WHERE seq = (SELECT max(seq) FROM version WHERE vm = v.vm AND nic = v.nic)
         AND (?1 IS NULL OR vm = ?1) AND (vm, nic) > (?2, ?3) ORDER BY vm, nic LIMIT ?4`,
      )
      .all(filter.vm ?? null, vm, nic, limit)
      .map((row) => versionOf(Row.parse(row)));
  }

  /** What changed with a version; empty for the first one. */
  changes({ vm, nic, seq }: Pick<ShadowVersion, 'vm' | 'nic' | 'seq'>): Change[] {
    const rows = this.#db
      .prepare('SELECT key, was, is_now FROM change WHERE vm = ? AND nic = ? AND seq = ? ORDER BY key')
      .all(vm, nic, seq);
    return rows.map((row) => {
      const { key, was, is_now: now } = ChangeRow.parse(row);
      return { key, ...(was === null ? {} : { before: was }), ...(now === null ? {} : { after: now }) };
    });
  }

  /** The whole shadow of a version as it was captured last; undefined when that form of a shadow is not read any more. */
  shadow({ vm, nic, seq }: Pick<ShadowVersion, 'vm' | 'nic' | 'seq'>): NetShadow | undefined {
    const row = this.#row(vm, nic, seq);
    return row === undefined ? undefined : this.#read(row.content);
  }

  /** Removes all that is known of a VM. */
  forget(vm: string): void {
    atomically(this.#db, () => {
      this.#db.prepare('DELETE FROM version WHERE vm = ?').run(vm);
      this.#dropUnused();
    });
  }

  dispose(): void {
    this.#db.close();
  }

  #add(seen: {
    vm: string;
    nic: string;
    shadow: NetShadow;
    by: SeenBy;
    atMs: number;
    attributes: Attribute[];
    identity: string;
    last: Row | undefined;
    changes: Change[];
  }): Recorded {
    const { vm, nic, attributes, last, atMs, changes } = seen;
    const seq = (last?.seq ?? 0) + 1;
    const label = labelText(nextLabel(last && parseLabel(last.label), changes));
    const content = this.#keep(seen.shadow);
    const size = changes.reduce(
      (sum, { key, before: was = '', after: now = '' }) => sum + key.length + was.length + now.length,
      content.bytes,
    );
    this.#db
      .prepare('INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)')
      .run(
        vm,
        nic,
        seq,
        label,
        seen.identity,
        content.hash,
        seen.by,
        atMs,
        atMs,
        attributes.length,
        changes.length,
        size,
      );
    const insert = this.#db.prepare('INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)');
    for (const change of changes) {
      insert.run(vm, nic, seq, change.key, change.before ?? null, change.after ?? null);
    }
    this.#prune(vm, nic);
    return { version: this.#need(vm, nic, seq), isNew: true, changes };
  }

  /** Removes the versions that are over the limits, the oldest first. */
  #prune(vm: string, nic: string): void {
    const rows = this.#db
      .prepare('SELECT seq, bytes FROM version WHERE vm = ? AND nic = ? ORDER BY seq DESC')
      .all(vm, nic)
      .map((row) => z.object({ seq: z.number(), bytes: z.number() }).parse(row));
    let bytes = 0;
    const firstTooMany = rows.findIndex((row, index) => {
      bytes += row.bytes;
      return index > 0 && (index >= this.#retention.versions || bytes > this.#retention.bytes);
    });
    const over = rows[firstTooMany];
    if (over === undefined) return;
    this.#db.prepare('DELETE FROM version WHERE vm = ? AND nic = ? AND seq <= ?').run(vm, nic, over.seq);
    this.#dropUnused();
  }

  /** Keeps a shadow under its hash; the same one is kept once. */
  #keep(shadow: NetShadow): { hash: string; bytes: number } {
    const text = JSON.stringify(shadow);
    const hash = hashOf(text);
    const data = deflateRawSync(text);
    this.#db.prepare('INSERT INTO content VALUES (?, ?) ON CONFLICT (hash) DO NOTHING').run(hash, data);
    return { hash, bytes: data.length };
  }

  /** Removes contents that no version has, or this one if that is so. */
  #dropUnused(hash?: string): void {
    this.#db
      .prepare(
        'DELETE FROM content WHERE (?1 IS NULL OR hash = ?1) AND NOT EXISTS (SELECT 1 FROM version WHERE content = hash)',
      )
      .run(hash ?? null);
  }

  #read(hash: string): NetShadow | undefined {
    const row = this.#db.prepare('SELECT data FROM content WHERE hash = ?').get(hash);
    const { data } = z.object({ data: z.instanceof(Uint8Array) }).parse(row);
    return NetShadow.safeParse(JSON.parse(inflateRawSync(data).toString('utf8'))).data;
  }

  #row(vm: string, nic: string, seq: number): Row | undefined {
    const row = this.#db
      .prepare('SELECT * FROM version WHERE vm = ? AND nic = ? AND seq = ?')
      .get(vm, nic, seq);
    return row === undefined ? undefined : Row.parse(row);
  }

  #need(vm: string, nic: string, seq: number): ShadowVersion {
    return versionOf(Row.parse(this.#row(vm, nic, seq)));
  }

  #lastRow(vm: string, nic: string): Row | undefined {
    const row = this.#db
      .prepare('SELECT * FROM version WHERE vm = ? AND nic = ? ORDER BY seq DESC LIMIT 1')
      .get(vm, nic);
    return row === undefined ? undefined : Row.parse(row);
  }
}
