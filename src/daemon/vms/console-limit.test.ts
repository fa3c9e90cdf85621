import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cutConsole } from './console-limit.ts';

test('a console that is too large keeps its end, and says how much is gone; a file that is not ours is left', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sf-console-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'serial.log');
  writeFileSync(file, `${'x'.repeat(90)}0123456789`);
  const link = join(directory, 'link.log');
  symlinkSync(file, link);
  assert.equal(cutConsole(link, 50, 10), 0);
  assert.equal(cutConsole(file, 100, 10), 0);
  assert.equal(cutConsole(file, 50, 10), 90);
  assert.equal(readFileSync(file, 'utf8'), '\n[shadowferry: 90 bytes before this were cut]\n0123456789');
  assert.equal(cutConsole(join(directory, 'none.log')), 0);
});
