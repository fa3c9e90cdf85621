import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { protocolPage } from './protocol-page.ts';

test('the tables of docs/protocol.md are the rules that the daemons go by', () => {
  const page = readFileSync(join(dirname(import.meta.dirname), 'docs/protocol.md'), 'utf8');
  assert.equal(
    page,
    protocolPage(page),
    'docs/protocol.md is out of date: run "node scripts/gen-protocol.ts" with Node 24',
  );
});
