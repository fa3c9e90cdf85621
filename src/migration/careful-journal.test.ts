import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CarefulJournal, type RunJournal } from './careful-journal.ts';
import { Journal } from './journal.ts';
import { initialState } from './machine.ts';
import { type RunLog, step } from './run.ts';
import { Timeline } from './timeline.ts';

const OPENED = {
  ...{ id: 'm1', vm: 'web1', source: 'a', destination: 'b', request: {} },
  state: initialState(false),
};

function realJournal(t: TestContext): Journal {
  const directory = mkdtempSync(join(tmpdir(), 'sf-journal-'));
  const journal = new Journal(join(directory, 'journal.db'));
  t.after(() => {
    journal.dispose();
    rmSync(directory, { recursive: true });
  });
  return journal;
}

/** A journal whose disk is full from its n-th write on, or at that write only. */
function failing(journal: Journal, n: number, forGood: boolean): RunJournal {
  let writes = 0;
  return new Proxy(journal, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name === 'steps') return value.bind(target);
      return (...args: unknown[]) => {
        writes += 1;
        if (writes === n || (forGood && writes > n)) throw new Error('database or disk is full');
        return Reflect.apply(value, target, args);
      };
    },
  });
}

interface Ran {
  did: string[];
  error: unknown;
  told: string[];
  journal: CarefulJournal;
}

/** Five steps, a commit, two steps; each writes what the engine writes. */
async function run(journal: RunJournal): Promise<Ran & { committed: boolean }> {
  const told: string[] = [];
  const careful = new CarefulJournal(journal, (text) => told.push(text));
  const log: RunLog = {
    ...{ id: 'm1', journal: careful, timeline: new Timeline(), warnings: [], decisions: [] },
    emit: () => {},
  };
  const did: string[] = [];
  let committed = false;
  const one = (name: string) =>
    step(log, 'reserve', name, { undo: [{ kind: 'remove-tap', host: 'b', tap: name }] }, async () => {
      did.push(name);
    });
  try {
    careful.open(OPENED);
    for (const name of ['1', '2', '3', '4', '5']) await one(name);
    careful.note('m1', 'asked', '');
    careful.check();
    committed = true;
    careful.forward();
    careful.setState('m1', initialState(false), 'committed');
    for (const name of ['6', '7']) await one(name);
    careful.close('m1', 'completed', {});
    return { did, error: undefined, told, journal: careful, committed };
  } catch (error) {
    return { did, error, told, journal: careful, committed };
  }
}

/** `open`, two writes a step, the question, the state, two steps, the end. */
const WRITES = 1 + 10 + 1 + 1 + 4 + 1;

for (const forGood of [true, false]) {
  test(`${forGood ? 'from' : 'at'} each write the disk is full: back before the commit, forward after it`, async (t) => {
    for (let n = 1; n <= WRITES; n += 1) {
      const { did, error, told, journal, committed } = await run(failing(realJournal(t), n, forGood));
      if (n <= 12) {
        assert.match(String(error), /the journal cannot be written: database or disk is full/);
        assert.equal(committed, false);
        // what was done can be taken back from memory, and the way back is not stopped by the journal
        const known = new Set(journal.steps('m1').map(({ name }) => name));
        assert.deepEqual(
          did.filter((name) => !known.has(name)),
          [],
        );
        for (const { seq } of journal.steps('m1')) journal.end('m1', seq, 'undone');
        journal.setState('m1', { kind: 'ended', ending: 'rolled-back' }, 'undone');
        journal.close('m1', 'rolled-back', {});
        assert.ok(journal.steps('m1').every(({ status }) => status === 'undone'));
      } else {
        assert.equal(error, undefined);
        assert.deepEqual(did, ['1', '2', '3', '4', '5', '6', '7']);
        assert.equal(told.length, 1);
      }
    }
  });
}

test('with room on the disk nothing is told, and the journal has all of it', async (t) => {
  const real = realJournal(t);
  const { error, told } = await run(real);
  assert.equal(error, undefined);
  assert.deepEqual(told, []);
  assert.equal(real.steps('m1').length, 7);
  assert.equal(real.find('m1')?.ending, 'completed');
});

test('what was not written keeps the commit from being asked for, whoever did not see the failure', (t) => {
  const careful = new CarefulJournal(failing(realJournal(t), 2, false), () => {});
  careful.open(OPENED);
  try {
    careful.note('m1', 'decision', 'lost');
  } catch {}
  assert.throws(() => careful.check(), /JOURNAL_UNWRITABLE|cannot be written/);
});

/** A journal whose disk is full while `full.now`. */
function filled(journal: Journal, full: { now: boolean }): RunJournal {
  return new Proxy(journal, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (full.now && name !== 'steps') throw new Error('database or disk is full');
        return Reflect.apply(value, target, args);
      };
    },
  });
}

test('what the disk did not take on the way back is written, in its order, when it takes it', async (t) => {
  const real = realJournal(t);
  const full = { now: false };
  const careful = new CarefulJournal(filled(real, full), () => {});
  careful.open(OPENED);
  const first = careful.begin('m1', 'reserve', 'first', [{ kind: 'remove-tap', host: 'b', tap: 'x' }]);
  full.now = true;
  assert.throws(() => careful.end('m1', first, 'done'), { code: 'JOURNAL_UNWRITABLE' });
  careful.end('m1', first, 'undone');
  const late = careful.begin('m1', 'settle', 'late', []);
  careful.end('m1', late, 'done');
  careful.setState('m1', { kind: 'rolling-back', from: 'copy' }, 'disk');
  careful.setState('m1', { kind: 'ended', ending: 'rolled-back' }, 'undone');
  careful.close('m1', 'rolled-back', {});
  assert.equal(careful.behind, true);
  assert.throws(() => careful.catchUp(), /full/);
  assert.equal(real.find('m1')?.ending, null);
  full.now = false;
  careful.catchUp();
  assert.equal(careful.behind, false);
  assert.deepEqual(
    real.steps('m1').map(({ name, status }) => `${name} ${status}`),
    ['first undone', 'late done'],
  );
  assert.equal(real.find('m1')?.ending, 'rolled-back');
  assert.equal(real.find('m1')?.state, JSON.stringify({ kind: 'ended', ending: 'rolled-back' }));
});

test('when there is room again, what comes next follows what was missed', (t) => {
  const real = realJournal(t);
  const full = { now: false };
  const careful = new CarefulJournal(filled(real, full), () => {});
  careful.open(OPENED);
  careful.forward();
  full.now = true;
  careful.note('m1', 'x', 'missed');
  full.now = false;
  careful.note('m1', 'x', 'next');
  assert.deepEqual(
    real.notes('m1').map(({ text }) => text),
    ['missed', 'next'],
  );
  full.now = true;
  careful.note('m1', 'x', 'never');
  careful.leave();
  full.now = false;
  careful.note('m1', 'x', 'last');
  assert.deepEqual(
    real.notes('m1').map(({ text }) => text),
    ['missed', 'next', 'last'],
  );
});
