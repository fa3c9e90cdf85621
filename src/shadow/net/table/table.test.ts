import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from '../attributes.ts';
import { GOLDENS, goldenShadow } from '../golden.test-data.ts';
import { matches, rowFor } from './row.ts';
import { TABLE } from './table.ts';

describe('the table of attributes', () => {
  it('has a row for every attribute of every golden capture', () => {
    for (const name of GOLDENS) {
      const without = attributesOf(goldenShadow(name)).filter(({ key }) => rowFor(TABLE, key) === undefined);
      assert.deepEqual(without, [], name);
    }
  });

  it('names each attribute once', () => {
    const names = TABLE.flatMap(({ rows }) => rows.map(({ attribute }) => attribute));
    assert.deepEqual(
      names.filter((name, at) => names.indexOf(name) !== at),
      [],
    );
  });
});

describe('a row’s pattern', () => {
  it('names one key, or with a star many', () => {
    assert.ok(matches('link.mtu', 'link.mtu'));
    assert.ok(!matches('link.mtu', 'link.mtus'));
    assert.ok(matches('qdisc.*', 'qdisc.1:10'));
    assert.ok(matches('a.*.c', 'a.b.b.c'));
    assert.ok(!matches('a.*.c', 'a.c'));
    assert.ok(!matches('qdisc.*', 'link.qdisc.1'));
  });

  it('yields to one that says more', () => {
    assert.equal(rowFor(TABLE, 'qdisc.root')?.attribute, 'qdisc.root');
    assert.equal(rowFor(TABLE, 'qdisc.1:1')?.attribute, 'qdisc.*');
    assert.equal(rowFor(TABLE, 'sysctl.ipv4.conf.of_tomorrow')?.attribute, 'sysctl.*');
  });
});
