import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import {
  CATALOGUE,
  type ErrorCode,
  KINDS,
  type ParamsOf,
  ShadowferryError,
  toShadowferryError,
} from './errors.ts';

const root = dirname(import.meta.dirname);
const entries = Object.entries(CATALOGUE);
const page = readFileSync(`${root}/docs/errors.md`, 'utf8');

test('every code is documented, and nothing else is', () => {
  const documented = [...page.matchAll(/^### (.*)$/gm)].map(([, code]) => code);
  assert.deepEqual(documented.toSorted(), Object.keys(CATALOGUE).toSorted());
});

test('links to an error lead to one that exists', () => {
  const known = new Set([...page.matchAll(/^#+ (.*)$/gm)].map(([, title]) => String(title).toLowerCase()));
  for (const file of globSync(['*.md', 'docs/**/*.md'], { cwd: root })) {
    const text = readFileSync(`${root}/${file}`, 'utf8');
    for (const [, anchor = ''] of text.matchAll(/errors\.md#([\w-]+)/g)) {
      assert.ok(known.has(anchor), `${file} links to errors.md#${anchor}`);
    }
  }
});

test('no error is answered with a status that says that all is well', () => {
  for (const [code, entry] of entries) {
    const status = 'status' in entry ? entry.status : KINDS[entry.kind].status;
    assert.ok(status >= 400, `${code}: ${status}`);
  }
});

test('texts are sentences that can be filled: names in braces, a way out, one line', () => {
  for (const [code, { what, fix }] of entries) {
    for (const text of [what, fix]) {
      assert.doesNotMatch(text.replaceAll(/\{[a-zA-Z]+\}/g, ''), /[{}\n]/, code);
      assert.notEqual(text.trim(), '', code);
    }
    assert.doesNotMatch(what, /\.$/, `${code}: what happened is put into other sentences`);
    assert.match(fix, /(\.|\})$/, `${code}: what to do is a sentence of its own`);
  }
});

test('each kind has an exit code of its own, none of them success', () => {
  const codes = Object.values(KINDS).map(({ exit }) => exit);
  assert.equal(new Set(codes).size, codes.length);
  assert.ok(codes.every((code) => code > 0 && code < 126));
  for (const [code, { kind }] of entries) assert.ok(kind in KINDS, code);
});

test('an error fills its texts, and takes its exit code and status from its kind', () => {
  const error = new ShadowferryError('SAME_HOST', { field: 'to', vm: 'web1', value: 'a', more: 1 });
  assert.equal(error.message, 'to: VM "web1" already runs on host "a"');
  assert.deepEqual([error.kind, error.exitCode, error.status], ['input', 2, 400]);
  assert.equal(JSON.parse(JSON.stringify(error)).params.more, 1);
});

test('values are put in as they are, whatever they look like', () => {
  const value = '{field} $& $1';
  const error = new ShadowferryError('UNKNOWN_VM', { field: 'vm', value, allowed: '{value}' });
  assert.equal(error.message, `vm: there is no VM "${value}"`);
  assert.equal(error.fix, 'Use one of: {value}.');
});

test('an error must be given every value that its texts name', () => {
  const complete: ParamsOf<'TOOL_MISSING'> = { tool: 'ip', install: 'Install it.' };
  // @ts-expect-error: without `install` the types refuse it
  const incomplete: ParamsOf<'TOOL_MISSING'> = { tool: 'ip' };
  assert.notDeepEqual(complete, incomplete);
});

test('anything thrown becomes an error of the catalogue, with its cause', () => {
  const cause = new TypeError('x is not a function');
  const error = toShadowferryError(cause);
  assert.equal(error.code satisfies ErrorCode, 'INTERNAL');
  assert.equal(error.message, 'internal error: x is not a function');
  assert.equal(error.cause, cause);
  assert.equal(toShadowferryError(error), error);
  assert.equal(toShadowferryError('words').message, 'internal error: words');
});
