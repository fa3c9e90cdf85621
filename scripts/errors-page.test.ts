import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { errorsPage } from './errors-page.ts';

test('docs/errors.md is what the catalogue says', () => {
  const page = readFileSync(join(dirname(import.meta.dirname), 'docs/errors.md'), 'utf8');
  assert.ok(
    page === errorsPage(),
    'docs/errors.md is out of date: run "node scripts/gen-errors.ts" with Node 24',
  );
});
