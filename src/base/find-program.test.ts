import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cacheDirectory } from './cache-dir.ts';
import { findProgram, pathWithSystemDirectories } from './find-program.ts';

test('a program is found in the order of the PATH; what cannot be run is none', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'shadowferry-find-'));
  t.after(() => rmSync(root, { recursive: true }));
  const make = (path: string, mode: number) => {
    writeFileSync(join(root, path), '');
    chmodSync(join(root, path), mode);
  };
  for (const directory of ['a', 'b', 'a/folder-sf']) mkdirSync(join(root, directory));
  make('a/text-sf', 0o644);
  make('b/text-sf', 0o755);
  make('b/both-sf', 0o755);
  make('a/both-sf', 0o755);
  const path = `${root}/a:${root}/b`;
  assert.equal(findProgram('both-sf', path), `${root}/a/both-sf`);
  assert.equal(findProgram('text-sf', path), `${root}/b/text-sf`);
  assert.equal(findProgram('folder-sf', path), undefined);
  assert.equal(findProgram('none-sf', path), undefined);
  assert.equal(findProgram(`${root}/b/text-sf`, ''), `${root}/b/text-sf`);
  assert.equal(findProgram(`${root}/a/text-sf`, ''), undefined);
});

test('system directories are looked through last, each once', () => {
  assert.equal(pathWithSystemDirectories('/usr/sbin:/bin'), '/usr/sbin:/bin:/usr/local/sbin:/sbin');
});

test('the cache can be put elsewhere', () => {
  assert.equal(cacheDirectory({ SHADOWFERRY_CACHE: '/x' }), '/x');
  assert.equal(cacheDirectory({}), join(import.meta.dirname, '../../.cache'));
});
