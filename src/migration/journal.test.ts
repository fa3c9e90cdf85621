import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Journal } from './journal.ts';
import { initialState } from './machine.ts';

test('another process reads each step, with its undo, before the step has ended', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-journal-'));
  const path = join(directory, 'journal.db');
  const writer = new Journal(path);
  t.after(() => {
    writer.dispose();
    rmSync(directory, { recursive: true });
  });
  writer.open({
    id: 'm1',
    vm: 'web1',
    source: 'a',
    destination: 'b',
    request: {},
    state: initialState(false),
  });
  const first = writer.begin('m1', 'reserve', 'claim device', [
    { kind: 'release-device', host: 'b', device: 'nic0' },
  ]);
  writer.end('m1', first, 'done', { claimed: 1 });
  writer.begin('m1', 'detach', 'unplug', [{ kind: 'reattach', nic: 'net0' }]);

  const reader = new Journal(path);
  t.after(() => reader.dispose());
  assert.deepEqual(
    reader.steps('m1').map(({ seq, status, undo }) => ({ seq, status, undo: undo[0]?.kind })),
    [
      { seq: 1, status: 'done', undo: 'release-device' },
      { seq: 2, status: 'begun', undo: 'reattach' },
    ],
  );
  assert.equal(reader.migrations({ open: true }).length, 1);
  writer.close('m1', 'rolled-back', {});
  assert.equal(reader.migrations({ open: true }).length, 0);
  assert.equal(reader.migrations({ vm: 'web1' })[0]?.ending, 'rolled-back');
});
