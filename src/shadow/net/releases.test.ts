/** The same configuration, captured in Debian 12 and in Debian 13: what iproute2, ethtool and the kernel say otherwise. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import { type GoldenPart, goldenShadow } from './golden.test-data.ts';

const attributes = (release: 'debian12' | 'debian13', part: GoldenPart) =>
  new Map(attributesOf(goldenShadow(`${release}-${part}`)).map(({ key, value }) => [key, value]));

/** What differs, with the reason. */
const EXPECTED: readonly [RegExp, string][] = [
  [/sysctl\.ipv6\.conf\.(regen_min_advance|ra_honor_pio_[lp]\w+): -, /, 'new in the kernel'],
  [/^port\.(mab|neigh_vlan_suppress): -, off$/, 'new in the kernel'],
  [/^coalesce\.adaptive-rx: -, off$/, 'new in the driver virtio_net'],
  [/^upper\.vx\d\/kind: (.*) on vm0, \1 localbypass on vm0$/, 'new in the kernel'],
  [/^tcclass\.1:1: .* burst 20482\/1 .* burst 20480\/1 /, 'tc rounds otherwise, and is told what it printed'],
  [/^link\.ifindex: /, 'the kernel finds NICs in the order that it likes'],
  [/^link\.altnames: (enp\ds0)( .*)?, enx[0-9a-f]+\2$/, 'udev gives them'],
  [/^(upper\.bnd0\.7\/)?link\.mac: /, 'udev makes up a MAC for what is virtual'],
  [/^upper\.bnd0\.7\/address\.inet6\.fe80::/, 'made from that MAC'],
  [/^port\.fdb\.[0-9a-f:]+,self: /, 'the MAC of the bridge, likewise'],
];

/** What is otherwise, as `KEY: OLD, NEW`. */
function differences(part: GoldenPart): string[] {
  const [old, later] = [attributes('debian12', part), attributes('debian13', part)];
  const keys = [...new Set([...old.keys(), ...later.keys()])].toSorted();
  return keys.flatMap((key) =>
    old.get(key) === later.get(key) ? [] : [`${key}: ${old.get(key) ?? '-'}, ${later.get(key) ?? '-'}`],
  );
}

const PARTS = ['bond', 'uppers', 'port', 'odd'] as const;

describe('the same configuration in two releases of Debian', () => {
  for (const part of PARTS) {
    it(`is the same shadow: ${part}`, () => {
      assert.ok(attributes('debian12', part).size > 150);
      const unexpected = differences(part).filter(
        (each) => !EXPECTED.some(([pattern]) => pattern.test(each)),
      );
      assert.deepEqual(unexpected, []);
    });
    it(`is understood wholly: ${part}`, () => {
      for (const release of ['debian12', 'debian13'] as const)
        assert.deepEqual(goldenShadow(`${release}-${part}`).unknown, []);
    });
  }

  it('differs as expected, and in nothing that is expected no more', () => {
    const all = PARTS.flatMap(differences);
    const unseen = EXPECTED.filter(([pattern]) => !all.some((each) => pattern.test(each)));
    assert.deepEqual(unseen, []);
  });
});
