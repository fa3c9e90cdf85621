/** What the daemon keeps for its API: the events of the last time, and the answers to requests that may come twice. */
import type { DatabaseSync } from 'node:sqlite';
import { openDatabase } from '../../base/sqlite.ts';

const SCHEMAS = [
  `
  CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL
  ) STRICT;
  CREATE TABLE kept (
    principal TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, run TEXT NOT NULL,
    status INTEGER, body TEXT, at REAL NOT NULL,
    PRIMARY KEY (principal, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX kept_at ON kept (at);
`,
];

export function openDaemonDatabase(path: string): DatabaseSync {
  return openDatabase(path, SCHEMAS);
}
