/**
 * A journal of years: what a start and a piece of a list ask of it does not grow with it. Held by what is read, not by
 * the time it takes: the machine may be busy. The times are in `npm run bench -- daemon`.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { Journal } from '../migration/journal.ts';
import { initialState } from '../migration/machine.ts';
import { API } from './api/contract.ts';
import { DaemonClient } from './client/client.ts';
import { scratch, testDaemon } from './fixture.test-data.ts';

const MANY = 100_000;
/** What the first release wrote. */
const FIRST_SCHEMA = `
  CREATE TABLE migration (
    id TEXT PRIMARY KEY, vm TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL,
    request TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, ended REAL, ending TEXT, result TEXT
  ) STRICT;
  CREATE TABLE step (
    migration TEXT NOT NULL REFERENCES migration (id), seq INTEGER NOT NULL, phase TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, undo TEXT NOT NULL, detail TEXT, begun REAL NOT NULL, ended REAL,
    PRIMARY KEY (migration, seq)
  ) STRICT;
  CREATE TABLE note (
    migration TEXT NOT NULL REFERENCES migration (id), at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL
  ) STRICT;
  PRAGMA user_version = 1;`;

/** A journal of the first schema with many migrations, each with steps and notes. */
function writeJournal(path: string): void {
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; ${FIRST_SCHEMA} BEGIN;`);
  const state = JSON.stringify({ kind: 'ended', ending: 'completed' });
  const result = JSON.stringify({ totalMs: 5000, blackoutMs: 60, memoryBytes: 1e8 });
  const migration = db.prepare('INSERT INTO migration VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const step = db.prepare('INSERT INTO step VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)');
  const note = db.prepare('INSERT INTO note VALUES (?, ?, ?, ?)');
  for (let n = 0; n < MANY; n++) {
    const id = `m${n}`;
    migration.run(
      id,
      `web${n % 100}`,
      'alpha',
      'beta',
      '{}',
      state,
      1e12 + n,
      1e12 + n + 5,
      'completed',
      result,
    );
    step.run(id, 1, 'reserve', 'claim device', 'done', '[]', 1e12 + n, 1e12 + n + 1);
    note.run(id, 1e12 + n, 'state', 'all phases done');
  }
  db.exec('COMMIT');
  db.close();
}

interface Reading {
  /** Statements on the journal. */
  sql: Set<string>;
  /** Rows that came of them. */
  rows: number;
}

/** What is read of a file from now on. */
function watchReading(t: TestContext, path: string): Reading {
  const reading: Reading = { sql: new Set(), rows: 0 };
  const { prepare } = DatabaseSync.prototype;
  t.mock.method(DatabaseSync.prototype, 'prepare', function (this: DatabaseSync, sql: string) {
    const statement = prepare.call(this, sql);
    if (this.location() !== path || !/^\s*SELECT/.test(sql)) return statement;
    reading.sql.add(sql);
    const { all, get } = statement;
    return Object.assign(statement, {
      all: (...parameters: unknown[]) => {
        const rows: unknown[] = Reflect.apply(all, statement, parameters);
        reading.rows += rows.length;
        return rows;
      },
      get: (...parameters: unknown[]) => {
        reading.rows += 1;
        return Reflect.apply(get, statement, parameters);
      },
    });
  });
  return reading;
}

/** Steps of SQLite's plans that look at whole tables. A walk along an index that ends at a limit does not. */
function wholeTables(path: string, statements: Iterable<string>): string[] {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return [...statements].flatMap((sql) =>
      db
        .prepare(`EXPLAIN QUERY PLAN ${sql}`)
        .all()
        .map(({ detail }) => String(detail))
        .filter((detail) => {
          if (/USE TEMP B-TREE/.test(detail)) return true;
          return (
            /^SCAN (?!CONSTANT)/.test(detail) &&
            !(/USING (COVERING )?INDEX/.test(detail) && /LIMIT|ending IS NULL/.test(sql))
          );
        })
        .map((detail) => `${detail}: ${sql.trim()}`),
    );
  } finally {
    db.close();
  }
}

test(`a journal of ${MANY} migrations: neither a start nor a piece of a list looks through all of it`, async (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, 'state'), { mode: 0o700 });
  const path = join(directory, 'state', 'journal.db');
  writeJournal(path);
  const reading = watchReading(t, path);
  const journal = new Journal(path);
  const between = { source: 'alpha', destination: 'beta' };
  journal.open({ id: 'open', vm: 'web7', ...between, request: {}, state: initialState(false) });
  // what a start with a hundred VMs asks
  const held = Array.from(
    { length: 100 },
    (_, n) => journal.migrations({ vm: `web${n}`, open: true }).length,
  );
  journal.dispose();
  const keep = { days: 36_500, entries: 10_000_000 };
  const { socket } = await testDaemon(t, { journal: { keep } }, {}, directory);
  assert.ok(reading.rows < 200, `a start reads ${reading.rows} rows`);
  const client = new DaemonClient({ address: socket });
  const list = (query: { vm?: string; state?: 'open'; cursor?: string; limit: number }) =>
    client.call(API.listMigrations, { params: {}, query });
  const first = await list({ limit: 50 });
  const second = await list({ limit: 50, cursor: first.next ?? '' });
  const ofOne = await list({ limit: 50, vm: 'web42' });
  const open = await list({ limit: 50, state: 'open' });
  const told = await client.call(API.explainMigration, { params: { id: 'm77' }, query: {} });
  assert.deepEqual([first.items[0]?.id, second.items[0]?.id], ['open', `m${MANY - 50}`]);
  assert.ok(ofOne.items.every(({ vm }) => vm === 'web42') && ofOne.items.length === 50);
  assert.deepEqual(
    open.items.map(({ id }) => id),
    ['open'],
  );
  assert.equal(told.lines.length, 2);
  assert.equal(held.indexOf(1), 7);
  assert.ok(reading.rows < 500, `five questions and a start read ${reading.rows} rows`);
  assert.deepEqual(wholeTables(path, reading.sql), []);
});
