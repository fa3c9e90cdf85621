import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { atomically, NewerSchemaError, openDatabase } from './sqlite.ts';

const directory = mkdtempSync(join(tmpdir(), 'sf-sqlite-'));
after(() => rmSync(directory, { recursive: true, force: true }));
let count = 0;
const newFile = () => join(directory, `${++count}.db`);

const FIRST = 'CREATE TABLE IF NOT EXISTS thing (name TEXT PRIMARY KEY) STRICT;';
const SECOND = "ALTER TABLE thing ADD COLUMN kind TEXT NOT NULL DEFAULT 'old';";

test('a file of an old schema is brought to the newest, with what is in it, once', () => {
  const path = newFile();
  const old = openDatabase(path, [FIRST]);
  old.exec("INSERT INTO thing VALUES ('a')");
  old.close();
  for (const _ of ['upgraded', 'left alone']) {
    const db = openDatabase(path, [FIRST, SECOND]);
    assert.deepEqual({ ...db.prepare('SELECT * FROM thing').get() }, { name: 'a', kind: 'old' });
    db.close();
  }
});

test('a change of the schema that fails leaves the file as it was', () => {
  const path = newFile();
  openDatabase(path, [FIRST]).close();
  assert.throws(() => openDatabase(path, [FIRST, SECOND, 'nonsense']));
  const db = openDatabase(path, [FIRST]);
  assert.deepEqual(
    db
      .prepare('PRAGMA table_info(thing)')
      .all()
      .map(({ name }) => name),
    ['name'],
  );
  db.close();
});

test('a file of a newer program is refused and not touched', () => {
  const path = newFile();
  openDatabase(path, [FIRST, SECOND]).close();
  assert.throws(() => openDatabase(path, [FIRST]), new NewerSchemaError(path, 2, 1));
});

test('a transaction that fails changes nothing', () => {
  const db = openDatabase(newFile(), [FIRST]);
  const act = () => {
    db.exec("INSERT INTO thing VALUES ('a')");
    throw new Error('no');
  };
  assert.throws(() => atomically(db, act), /^Error: no$/);
  assert.deepEqual(db.prepare('SELECT * FROM thing').all(), []);
  db.close();
});

/** Opens the file and adds things; many of these do so at the same time. */
const OPENER = `
import { atomically, openDatabase } from ${JSON.stringify(new URL('./sqlite.ts', import.meta.url).href)};
const [path, who] = process.argv.slice(1);
for (let i = 0; i < 5; i += 1) {
  const db = openDatabase(path, ${JSON.stringify([FIRST, SECOND])});
  atomically(db, () => db.prepare('INSERT INTO thing (name) VALUES (?)').run(who + i));
  db.close();
}
`;

test('processes that make and open a new file at the same time all get it', async () => {
  const path = newFile();
  const codes = ['a', 'b', 'c', 'd'].map(async (who) => {
    const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', OPENER, path, who];
    const [code] = await once(
      spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] }),
      'close',
    );
    return code;
  });
  assert.deepEqual(await Promise.all(codes), [0, 0, 0, 0]);
  const db = openDatabase(path, [FIRST, SECOND]);
  assert.equal(db.prepare('SELECT count(*) AS n FROM thing').get()?.n, 20);
  db.close();
});
