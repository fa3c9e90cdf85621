import assert from 'node:assert/strict';
import { test } from 'node:test';
import { topologyBatches } from './topology.ts';

const batches = topologyBatches({ id: 'x', hosts: ['a', 'b'], mtu: 1400, networks: 3 });

test('the ends of a wire differ in index, or the kernel takes a second to notice their carrier', () => {
  const wires = batches.create.filter((line) => line.includes('type veth'));
  assert.equal(wires.length, 1 + 2 * 3);
  const indexes = wires.flatMap((line) => [...line.matchAll(/index (\d+)/g)].map(([, index]) => index));
  assert.equal(indexes.length, 14);
  assert.equal(new Set(indexes).size, 14);
});

test('a bridge starts after its first port was given to it', () => {
  for (const lines of batches.bridge.values()) {
    for (const line of lines) {
      const [, bridge] = /^link set dev (\S+) up$/.exec(line) ?? [];
      if (bridge === undefined) continue;
      const first = lines.findIndex((other) => other.endsWith(` master ${bridge}`));
      assert.ok(first >= 0 && first < lines.indexOf(line), `${bridge} in ${lines.join('; ')}`);
    }
  }
});

test('no interface starts before it was told to make no link-local address', () => {
  for (const lines of [...batches.start.values(), ...batches.bridge.values()]) {
    for (const [index, line] of lines.entries()) {
      const [, name] = /^link set dev (\S+) (?:.* )?up$/.exec(line) ?? [];
      if (name !== undefined && name !== 'lo')
        assert.equal(lines[index - 1], `link set dev ${name} addrgenmode none`);
    }
  }
});

test('the MTU is given to every wire and every bridge', () => {
  const made = [...batches.create, ...[...batches.bridge.values()].flat()].filter((line) =>
    line.startsWith('link add'),
  );
  for (const line of made) {
    const ends = line.includes('type veth') ? 2 : 1;
    assert.equal(line.match(/ mtu 1400 /g)?.length, ends, line);
  }
});
