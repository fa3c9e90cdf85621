import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { shadowPage } from './shadow-page.ts';

test('the table of docs/shadow.md is what src/shadow/net/table says', () => {
  const page = readFileSync(join(dirname(import.meta.dirname), 'docs/shadow.md'), 'utf8');
  assert.equal(
    page,
    shadowPage(page),
    'docs/shadow.md is out of date: run "node scripts/gen-shadow.ts" with Node 24',
  );
});
