import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { handOverOf, NOTE } from './history.ts';
import { Journal } from './journal.ts';
import { initialState } from './machine.ts';

test('a later process finds the hand-over of a migration, and whether its question may be on its way', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-history-'));
  const journal = new Journal(join(directory, 'journal.db'));
  t.after(() => {
    journal.dispose();
    rmSync(directory, { recursive: true });
  });
  const handOver = { id: 'm1', vm: 'web1', source: 'a', destination: 'b', epoch: 4 };
  journal.open({ ...handOver, request: {}, state: initialState(false) });
  assert.equal(handOverOf(journal, 'm1'), undefined);
  journal.note('m1', NOTE.handOver, JSON.stringify(handOver));
  assert.deepEqual(handOverOf(journal, 'm1'), { handOver, asked: false });
  journal.note('m1', NOTE.asked, 'epoch 4 → b');
  assert.deepEqual(handOverOf(journal, 'm1'), { handOver, asked: true });
});
