import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ShadowferryError } from '../../errors.ts';
import { createToken, readTokens, revokeToken, TokenList } from './tokens.ts';

const code = (wanted: string) => (error: unknown) =>
  error instanceof ShadowferryError && error.code === wanted;

function file(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sf-tokens-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'tokens.json');
}

test('a token is known by a running daemon as soon as it is made, and not any more once it is revoked', (t) => {
  const path = file(t);
  const list = new TokenList(path);
  assert.deepEqual(list.find('sfy_x'), { why: 'the token is not known' });
  const { token, entry } = createToken(path, { name: 'ci', role: 'operator', days: null });
  const found = list.find(token);
  assert.ok('entry' in found);
  assert.deepEqual([found.entry.name, found.entry.role], ['ci', 'operator']);
  revokeToken(path, entry.id);
  assert.deepEqual(list.find(token), { why: 'the token is revoked' });
  assert.equal(list.still(entry.id), 'the token is revoked');
});

test('the file holds no secret and only its owner reads it', (t) => {
  const path = file(t);
  const { token } = createToken(path, { name: 'ci', role: 'admin', days: 1 });
  assert.ok(!readFileSync(path, 'utf8').includes(token.slice(17)));
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('an expired token, a wrong secret, another id, a cut or longer text: none is taken', (t) => {
  const path = file(t);
  const { token, entry } = createToken(path, { name: 'ci', role: 'admin', days: 1 }, Date.now());
  const other = createToken(path, { name: 'b', role: 'viewer', days: null });
  const list = new TokenList(path);
  assert.deepEqual(list.find(token, Date.now() + 2 * 86_400_000), { why: 'the token has expired' });
  const mixed = `sfy_${entry.id}_${other.token.slice(17)}`;
  const flipped = token.slice(0, -2) + (token.at(-2) === 'A' ? 'B' : 'A') + token.at(-1);
  for (const wrong of [
    '',
    token.slice(0, -1),
    `${token}A`,
    ` ${token}`,
    mixed,
    flipped,
    token.toUpperCase(),
    'x'.repeat(100_000),
  ])
    assert.ok('why' in list.find(wrong), wrong.slice(0, 80));
});

test('a file that others may write, or that is broken, is refused; a running daemon then knows nobody', (t) => {
  const path = file(t);
  const { token } = createToken(path, { name: 'ci', role: 'admin', days: 1 });
  const list = new TokenList(path);
  chmodSync(path, 0o666);
  assert.throws(() => readTokens(path), code('FILE_UNSAFE'));
  chmodSync(path, 0o600);
  writeFileSync(path, '{"schema":1,"tokens":[{}]}');
  assert.throws(() => new TokenList(path), code('TOKENS_INVALID'));
  const found = list.find(token);
  assert.ok('why' in found && /cannot be read/.test(found.why));
});

test('a name with what a terminal or shell would act on is refused', (t) => {
  const path = file(t);
  for (const name of ['', 'a b', '$(id)', 'a\u001b[31m', '../x'])
    assert.throws(() => createToken(path, { name, role: 'viewer', days: null }), code('INPUT_FIELD'));
  assert.throws(() => revokeToken(path, '000000000000'), code('TOKEN_UNKNOWN'));
});
