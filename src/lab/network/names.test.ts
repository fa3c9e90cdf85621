import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkHostName, checkId, checkInterfaceName, memberOf, namespaceName } from './names.ts';

const word = (longest: number) =>
  fc.string({
    unit: fc.constantFrom(...'abcxyz0189'),
    minLength: 1,
    maxLength: longest,
  });

test('a namespace is found again as the member it was made for', () => {
  fc.assert(
    fc.property(word(12), word(8), (id, member) => {
      assert.equal(memberOf(id, namespaceName(id, member)), member);
    }),
  );
});

test('a lab does not take the namespaces of a lab whose id begins with its own', () => {
  assert.equal(memberOf('x', namespaceName('x-y', 'a')), undefined);
  assert.equal(memberOf('x', 'sf-xy-a'), undefined);
  assert.equal(memberOf('x-y', namespaceName('x-y', 'a')), 'a');
});

test('names that would not fit into a command or a file name are refused', () => {
  for (const id of ['', '-a', 'a b', 'a/b', '..', 'A', 'x'.repeat(33)]) {
    assert.throws(() => checkId(id), { code: 'INPUT_FIELD' }, id);
  }
  for (const host of ['', 'out', 'a-b', 'a\nb', 'ninechars']) {
    assert.throws(() => checkHostName(host), { code: 'INPUT_FIELD' }, host);
  }
  for (const name of ['', '-x', 'a b', 'a\nb', 'sixteen-letters-']) {
    assert.throws(() => checkInterfaceName(name), { code: 'INPUT_FIELD' }, name);
  }
  checkId('demo-1');
  checkHostName('a');
  checkInterfaceName('tap-vm1.0');
});
