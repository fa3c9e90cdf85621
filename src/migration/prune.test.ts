import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { IncomingJournal } from './incoming/journal.ts';
import { Journal } from './journal.ts';
import { type Ending, initialState } from './machine.ts';
import { PRUNED_AT_ONCE, type PruneRule } from './prune.ts';

const DAY_MS = 86_400_000;

/** A journal whose entries are as old as a test says. */
function setup(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sf-prune-'));
  const path = join(directory, 'journal.db');
  const journal = new Journal(path);
  const db = new DatabaseSync(path);
  t.after(() => {
    db.close();
    journal.dispose();
    rmSync(directory, { recursive: true });
  });
  const nowMs = Date.now();
  const add = (id: string, days: number, ending: Ending | undefined, vm = 'web1', text = 'so it is') => {
    const between = { vm, source: 'a', destination: 'b' };
    journal.open({ id, ...between, request: {}, state: initialState(false) });
    journal.begin(id, 'reserve', 'claim device', []);
    journal.note(id, 'decision', text);
    const atMs = nowMs - days * DAY_MS;
    db.prepare('UPDATE migration SET created = ?, ended = ?, ending = ? WHERE id = ?').run(
      ...[atMs, ending === undefined ? null : atMs + 5000, ending ?? null, id],
    );
  };
  const prune = (rule: Partial<PruneRule> = {}) =>
    journal.prune({ days: 90, entries: 1000, vms: [], nowMs, ...rule });
  const left = () => journal.migrations().map(({ id }) => id);
  return { path, journal, db, add, prune, left };
}

test('what is old goes with its steps and notes; what is under way stays, however old', (t) => {
  const { journal, add, prune, left } = setup(t);
  add('old', 91, 'completed');
  add('open', 200, undefined);
  add('new', 89, 'completed');
  assert.equal(prune(), 1);
  assert.deepEqual(left(), ['open', 'new']);
  assert.deepEqual([journal.steps('old'), journal.notes('old')], [[], []]);
  assert.equal(journal.steps('new').length, 1);
  assert.equal(prune(), 0);
});

test('of many the newest stay, and all that are younger than two days', (t) => {
  const { add, prune, left } = setup(t);
  for (const days of [30, 20, 10, 1.9, 1.8]) add(`d${days}`, days, 'completed');
  assert.equal(prune({ entries: 3 }), 2);
  assert.deepEqual(left(), ['d10', 'd1.9', 'd1.8']);
  assert.equal(prune({ entries: 1 }), 1);
  assert.deepEqual(left(), ['d1.9', 'd1.8']);
});

test('how a VM of this host was moved last is not forgotten; of a VM that nobody knows here it is', (t) => {
  const { add, prune, left } = setup(t);
  for (const vm of ['here', 'gone']) {
    add(`${vm}-first`, 120, 'completed', vm);
    add(`${vm}-last`, 110, 'degraded', vm);
    add(`${vm}-back`, 100, 'rolled-back', vm);
  }
  prune({ vms: ['here'] });
  assert.deepEqual(left(), ['here-last']);
});

test('an entry goes whole or stays whole, also where it breaks in the middle; the next time goes on', (t) => {
  const { journal, db, add, prune, left } = setup(t);
  for (let n = 0; n < 3; n += 1) add(`m${n}`, 100 - n, 'completed');
  db.exec(
    `CREATE TRIGGER broken BEFORE DELETE ON migration WHEN OLD.id = 'm1' BEGIN SELECT RAISE (ABORT, 'cut'); END`,
  );
  assert.throws(() => prune(), /cut/);
  assert.deepEqual(left(), ['m0', 'm1', 'm2']);
  for (const id of left()) assert.deepEqual([journal.steps(id).length, journal.notes(id).length], [1, 1]);
  db.exec('DROP TRIGGER broken');
  assert.equal(prune(), 3);
});

test('few at a time, until none is left; the room is used again', (t) => {
  const { path, db, add, prune, left } = setup(t);
  for (let n = 0; n < 2.5 * PRUNED_AT_ONCE; n += 1)
    add(`m${n}`, 100, 'completed', 'web1', 'x'.repeat(50_000));
  const size = () => {
    db.exec('PRAGMA wal_checkpoint (TRUNCATE)');
    return statSync(path).size;
  };
  const before = size();
  assert.deepEqual([prune(), prune(), prune(), prune()], [20, 20, 10, 0]);
  assert.deepEqual(left(), []);
  for (let n = 0; n < 40; n += 1) add(`n${n}`, 1, 'completed', 'web1', 'x'.repeat(50_000));
  assert.ok(size() <= before, `${size()} after ${before}`);
});

test('the journal of what comes here forgets by the same rule', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-prune-'));
  const path = join(directory, 'incoming.db');
  const journal = new IncomingJournal(path);
  const db = new DatabaseSync(path);
  t.after(() => {
    db.close();
    journal.dispose();
    rmSync(directory, { recursive: true });
  });
  const nowMs = Date.now();
  const add = (id: string, days: number, kind: 'settled' | 'discarded' | 'receiving', vm: string) => {
    const state = kind === 'settled' ? ({ kind, degraded: false } as const) : { kind };
    journal.open({ id, vm, source: 'alpha', destination: 'beta', epoch: 1 }, undefined, state, 'test');
    const atMs = nowMs - days * DAY_MS;
    db.prepare('UPDATE incoming SET created = ?, ended = iif(ended IS NULL, NULL, ?) WHERE id = ?').run(
      ...[atMs, atMs, id],
    );
  };
  add('first', 120, 'settled', 'web1');
  add('last', 110, 'settled', 'web1');
  add('back', 100, 'discarded', 'web1');
  add('open', 100, 'receiving', 'web2');
  add('new', 10, 'settled', 'web3');
  assert.equal(journal.prune({ days: 90, entries: 1000, vms: ['web1'], nowMs }), 2);
  assert.deepEqual(
    ['first', 'last', 'back', 'open', 'new'].filter((id) => journal.find(id) !== undefined),
    ['last', 'open', 'new'],
  );
  assert.deepEqual(journal.told('first'), []);
});
