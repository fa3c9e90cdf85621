import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { configPage } from '../src/daemon/config/reference.ts';
import { apiPage } from './api-page.ts';

const docs = join(dirname(import.meta.dirname), 'docs');

for (const [file, page] of [
  ['api.md', apiPage],
  ['config.md', configPage],
] as const) {
  test(`docs/${file} is what the schemas of the daemon say`, () => {
    const text = readFileSync(join(docs, file), 'utf8');
    assert.ok(text === page(), `docs/${file} is out of date: run "node scripts/gen-api.ts" with Node 24`);
  });
}

test('every call and every thing that is linked to has its section', () => {
  const page = apiPage();
  const titles = new Set([...page.matchAll(/^#+ (.*)$/gm)].map(([, title]) => String(title).toLowerCase()));
  for (const [, anchor = ''] of page.matchAll(/\]\(#([\w-]+)\)/g)) assert.ok(titles.has(anchor), anchor);
  assert.match(
    page,
    /### POST \/v1\/hosts\/\{host\}\/examinations\n\nLook at this host again.* Needs: operator\./,
  );
});
