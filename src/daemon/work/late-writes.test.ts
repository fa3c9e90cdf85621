import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { pino } from 'pino';
import { LateWrites } from './late-writes.ts';

test('what cannot be written is tried again until it can, and each piece once', async () => {
  const said = new PassThrough();
  const late = new LateWrites({ log: pino({ level: 'info' }, said), againMs: 1 });
  const written: string[] = [];
  let full = 3;
  late.add('one', () => {
    full -= 1;
    if (full > 0) throw new Error('full');
    written.push('one');
  });
  late.add('two', () => void written.push('two'));
  while (late.behind) await once(said, 'data');
  assert.deepEqual(written, ['two', 'one'], 'one that fails keeps no other away');
  late.stop();
  assert.deepEqual(written, ['two', 'one']);
});

test('what is left in the end is tried once more, and told', () => {
  const lines: string[] = [];
  const said = new PassThrough();
  said.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
  const late = new LateWrites({ log: pino({ level: 'error' }, said), againMs: 60_000 });
  let tries = 0;
  late.add('the end of m1', () => {
    tries += 1;
    throw new Error('full');
  });
  late.stop();
  assert.equal(tries, 1);
  assert.equal(late.behind, false);
  assert.match(lines.join(''), /the end of m1.*lost/);
});
