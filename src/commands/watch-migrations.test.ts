import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Row, renderTable, shownRows, TableView } from './watch-migrations.ts';

const row = (id: string, more: Partial<Row>): Row => ({
  ...{ id, kind: 'migration', vm: `vm-${id}`, source: 'alpha', destination: 'beta', state: 'open' },
  ...{ phase: null, queue: null, held: false, copy: null, ending: null, createdMs: 0 },
  ...{ totalMs: null, blackoutMs: null, error: null },
  ...more,
});

const copy = { transferredBytes: 2e6, remainingBytes: 1e6, totalBytes: 3e6, rateBps: 1e6, etaMs: 1000 };
const ROWS = [
  row('e1', { state: 'ended', ending: 'completed', totalMs: 5000, blackoutMs: 40, createdMs: 1 }),
  row('e2', {
    state: 'ended',
    ending: 'rolled-back',
    error: { code: 'X', message: 'why\u001b[2J' },
    createdMs: 2,
  }),
  row('q2', { state: 'queued', queue: { position: 2, reason: 'full', tries: 0 } }),
  row('q1', { state: 'queued', queue: { position: 1, reason: 'next', tries: 0 } }),
  row('o1', { phase: 'copy', copy }),
  row('h1', { held: true, kind: 'migration' }),
];

test('what runs comes first, then what waits in its order, then what has ended, the last first', () => {
  assert.deepEqual(
    shownRows(ROWS).map(({ id }) => id),
    ['o1', 'h1', 'q1', 'q2', 'e2', 'e1'],
  );
});

test('each row says where it is and what it waits for, and cannot act on the terminal', () => {
  const lines = renderTable(shownRows(ROWS), 200);
  const of = (id: string) => lines.find((line) => line.startsWith(id)) ?? '';
  assert.match(of('o1'), /vm-o1 +alpha → beta +copy +.*remain.*left/);
  assert.match(of('h1'), /waits for you +"shadowferry confirm h1"/);
  assert.match(of('q2'), /waits \(2\) +full/);
  assert.match(of('e1'), /completed +5\.0 s, blackout 40/);
  assert.ok(!lines.join('').includes('\u001b'));
  assert.ok(renderTable(ROWS, 40).every((line) => line.length <= 40));
});

test('on a terminal the table is drawn over the one before; elsewhere only new lines are written', () => {
  const written: string[] = [];
  const out = (isTTY: boolean) => ({ isTTY, columns: 80, write: (text: string) => written.push(text) > 0 });
  const terminal = new TableView(out(true));
  terminal.show(ROWS.slice(0, 2));
  terminal.show(ROWS.slice(0, 1));
  assert.ok(written[1]?.startsWith('\u001b[3A\u001b[J'), JSON.stringify(written[1]));
  written.length = 0;
  const file = new TableView(out(false));
  file.show(ROWS.slice(0, 1));
  file.show(ROWS.slice(0, 2));
  assert.equal(written.length, 2);
});
