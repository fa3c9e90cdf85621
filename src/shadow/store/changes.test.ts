import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GOLDENS, goldenShadow } from '../net/golden.test-data.ts';
import { address, hostileShadow, neighbour, shadow } from '../net/plan.test-data.ts';
import { changesBetween, comparedOf } from './changes.ts';

const between = (before: Parameters<typeof comparedOf>[0], after: typeof before) =>
  changesBetween(comparedOf(before), comparedOf(after));

test('what was added, removed and given another value is told by key', () => {
  const before = shadow({ addresses: [address('10.0.0.1'), address('10.0.0.2')] });
  const after = shadow({
    addresses: [address('10.0.0.1', { metric: 5 }), address('10.0.0.3')],
    link: { ...before.link, mtu: 9000 },
  });
  assert.deepEqual(between(before, after), [
    { key: 'address.inet.10.0.0.1/24', before: 'scope global', after: 'scope global metric 5' },
    { key: 'address.inet.10.0.0.2/24', before: 'scope global' },
    { key: 'address.inet.10.0.0.3/24', after: 'scope global' },
    { key: 'link.mtu', before: '1500', after: '9000' },
  ]);
});

test('lifetimes that run and neighbours that were learned are no change', () => {
  const dynamic = (validSeconds: number) => address('fd00::1', { state: ['dynamic'], validSeconds });
  const before = shadow({ addresses: [dynamic(1800)], neighbours: [neighbour('10.0.0.9', 'reachable')] });
  const after = shadow({ addresses: [dynamic(60)], neighbours: [] });
  assert.deepEqual(between(before, after), []);
});

test('another device, another object above it and what is not understood are changes', () => {
  const before = shadow({ unknown: [{ where: 'tc', text: 'one' }] });
  const { hardware } = before;
  assert.ok(hardware);
  const after = shadow({
    hardware: { ...hardware, driver: 'vmxnet3', pciId: '15ad:07b0' },
    standIn: { kind: 'failover', name: 'eth0' },
    unknown: [
      { where: 'tc', text: 'two' },
      { where: 'tc', text: 'one' },
    ],
  });
  assert.deepEqual(between(before, after), [
    { key: 'hardware.driver', before: 'e1000e', after: 'vmxnet3' },
    { key: 'hardware.pciId', before: '8086:10d3', after: '15ad:07b0' },
    { key: 'standin.kind', before: 'none', after: 'failover' },
    { key: 'standin.name', after: 'eth0' },
    { key: 'unknown.tc', before: 'one', after: 'one\ntwo' },
  ]);
});

test('a captured shadow equals itself, whatever the order of its parts', () => {
  for (const name of GOLDENS) {
    const captured = goldenShadow(name);
    const turned = {
      ...captured,
      addresses: captured.addresses.toReversed(),
      routes: captured.routes.toReversed(),
      unknown: captured.unknown.toReversed(),
    };
    assert.deepEqual(between(captured, turned), [], name);
  }
});

test('applying the changes to the one side gives the other', () => {
  fc.assert(
    fc.property(hostileShadow, hostileShadow, (before, after) => {
      const applied = new Map(comparedOf(before).map(({ key, value }) => [key, value]));
      for (const { key, after: now } of between(before, after)) {
        if (now === undefined) applied.delete(key);
        else applied.set(key, now);
      }
      assert.deepEqual(applied, new Map(comparedOf(after).map(({ key, value }) => [key, value])));
    }),
    { numRuns: 50 },
  );
});
