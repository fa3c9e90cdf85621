import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ShadowferryError } from '../errors.ts';
import { shadow } from '../shadow/net/plan.test-data.ts';
import { ShadowStore } from '../shadow/store/store.ts';
import { findVersion, parseOperand, readShadowFile } from './operand.ts';

const directory = mkdtempSync(join(tmpdir(), 'sf-operand-'));
const store = new ShadowStore(join(directory, 'shadows.db'));
after(() => {
  store.dispose();
  rmSync(directory, { recursive: true, force: true });
});

const is = (code: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ShadowferryError, String(error));
  assert.equal(error.code, code);
  assert.match(`${error.message} ${error.fix}`, text);
  return true;
};
const file = (name: string, content: unknown) => {
  const path = join(directory, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
};

test('an operand is the present, a version, a file or another VM', () => {
  const read = (text: string) => parseOperand('from', text, 'web1');
  assert.deepEqual(read('now'), { kind: 'now', vm: 'web1' });
  for (const version of ['last', '7', '1.0.2.0'])
    assert.deepEqual(read(version), { kind: 'version', vm: 'web1', version });
  for (const path of ['./web2', 'a.json', '/x/1.0.2.0']) assert.deepEqual(read(path), { kind: 'file', path });
  assert.deepEqual(read('web2'), { kind: 'now', vm: 'web2' });
  assert.deepEqual(read('web2@7'), { kind: 'version', vm: 'web2', version: '7' });
  for (const wrong of ['', '0', '-1', 'Web2', 'web2@x', 'a@1@2', '1.0']) {
    assert.throws(() => read(wrong), is('INPUT_FIELD', /^from: /), wrong);
  }
});

test('a version is found by number, by label and as the last; a wrong one is told what there is', () => {
  const at = { field: 'from', vm: 'web1', nic: 'net0' };
  assert.throws(() => findVersion(store, at, 'last'), is('UNKNOWN_VERSION', /none was seen yet/));
  for (const mtu of [1500, 1400, 1300]) {
    store.record('web1', 'net0', shadow({ link: { ...shadow().link, mtu } }), 'watch');
  }
  assert.equal(findVersion(store, at, 'last').seq, 3);
  assert.equal(findVersion(store, at, '2').seq, 2);
  assert.equal(findVersion(store, at, '1.0.0.2').seq, 3);
  assert.throws(() => findVersion(store, at, '9'), is('UNKNOWN_VERSION', /1 to 3/));
  assert.throws(() => findVersion(store, at, '9.9.9.9'), is('UNKNOWN_VERSION', /1 to 3/));
});

test('a file is what "shadow show --json" printed, or a bare shadow', async () => {
  const bare = file('bare.json', shadow());
  assert.deepEqual(await readShadowFile('to', bare, undefined), shadow());
  const nics = ['net0', 'net1'].map((nic) => ({ nic, live: true, shadow: shadow() }));
  const shown = file('shown.json', { type: 'shadow', vm: 'web1', nics });
  assert.deepEqual(await readShadowFile('to', shown, 'net1'), shadow());
  await assert.rejects(readShadowFile('to', shown, undefined), is('INPUT_FIELD', /net0, net1/));
  await assert.rejects(
    readShadowFile('to', join(directory, 'none'), undefined),
    is('INPUT_FIELD', /cannot be read/),
  );
  await assert.rejects(
    readShadowFile('to', file('x', 'no JSON'), undefined),
    is('INPUT_FIELD', /cannot be read/),
  );
  await assert.rejects(
    readShadowFile('to', file('y', { a: 1 }), undefined),
    is('INPUT_FIELD', /is not what/),
  );
});
