import assert from 'node:assert/strict';
import { test } from 'node:test';
import { labelText, nextLabel, parseLabel, readLabel } from './label.ts';

const after = (label: string, ...keys: string[]) =>
  labelText(
    nextLabel(
      parseLabel(label),
      keys.map((key) => ({ key, before: 'a', after: 'b' })),
    ),
  );

test('the first version is 1.0.0.0', () => {
  assert.equal(labelText(nextLabel(undefined, [])), '1.0.0.0');
});

test('another value makes another correction', () => {
  assert.equal(after('2.1.3.4', 'link.mtu', 'ring.rx'), '2.1.3.5');
});

test('an attribute that comes or goes makes another list of features', () => {
  const came = nextLabel(parseLabel('2.1.3.4'), [{ key: 'address.inet.10.0.0.1/24', after: 'scope global' }]);
  const went = nextLabel(parseLabel('2.1.3.4'), [{ key: 'qdisc.root', before: 'fq 1:' }]);
  assert.deepEqual([labelText(came), labelText(went)], ['2.1.4.0', '2.1.4.0']);
});

test('an interface that was made anew makes another generation, another device another release', () => {
  assert.equal(after('2.1.3.4', 'link.ifindex', 'link.mtu'), '2.2.0.0');
  assert.equal(after('2.1.3.4', 'standin.kind'), '2.2.0.0');
  assert.equal(after('2.1.3.4', 'link.ifindex', 'hardware.driver'), '3.0.0.0');
  assert.equal(after('2.1.3.4', 'hardware.driverVersion'), '2.1.3.5');
});

test('only four numbers are a label', () => {
  for (const text of ['1.2.3', '1.2.3.4.5', '1.2.3.x', '7', '', '-1.0.0.0'])
    assert.equal(readLabel(text), undefined);
  assert.deepEqual(readLabel('1.2.3.4'), { release: 1, generation: 2, features: 3, corrections: 4 });
});
