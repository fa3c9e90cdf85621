import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import { GOLDENS, goldenShadow } from './golden.test-data.ts';
import type { NetShadow } from './model.ts';

const valuesOf = (shadow: NetShadow) => new Map(attributesOf(shadow).map(({ key, value }) => [key, value]));

describe('attributesOf', () => {
  it('gives the canonical list', () => {
    const values = valuesOf(goldenShadow('e1000e'));
    const wanted = {
      'address.inet.10.77.0.10/24': 'scope global broadcast 10.77.0.255 label eth0:lab',
      'address.inet.10.88.0.1/32,peer=10.88.0.2': 'scope global metric 70',
      'address.inet6.fd78::10/64': 'scope global dynamic noprefixroute',
      'address.inet6.fd79::10/128': 'scope global deprecated',
      'coalesce.rx-usecs': '50',
      'feature.tx-tcp-segmentation': 'off',
      'link.alias': 'lab "uplink" №1',
      'link.altnames': 'uplink-with-a-long-name',
      'link.mtu': '1400',
      'link.promisc': 'true',
      'multicast.link.01:00:5e:01:02:03': 'static',
      'neighbour.inet.10.77.0.9': '52:54:00:00:00:99 permanent',
      'neighbour.inet.10.77.0.7': '52:54:00:00:00:97 permanent extern_learn',
      'neighbour.inet.10.77.0.77,proxy': 'permanent',
      'pause.rx': 'off',
      'qdisc.ffff:fff1': 'clsact ffff:',
      'qdisc.root':
        'fq_codel 10: limit 2000 flows 1024 quantum 1414 target 7000us interval 100000us memory_limit 33554432 drop_batch 64 noecn',
      'ring.rx': '512',
      'route.inet.main.default,metric=100,via=10.77.0.1':
        'via 10.77.0.1 dev {dev} proto static scope global metric 100',
      'route.inet.main.10.77.0.0/24': 'automatic dev {dev} proto kernel scope link src 10.77.0.10',
      'rule.inet.100.from all iif eth0 lookup 100': 'from all iif eth0 lookup 100',
      'sysctl.ipv4.conf.rp_filter': '2',
    };
    for (const [key, value] of Object.entries(wanted)) assert.equal(values.get(key), value, key);
  });

  it('leaves out what was learned and what the driver cannot change', () => {
    const keys = [...valuesOf(goldenShadow('e1000e')).keys()];
    assert.ok(!keys.includes('neighbour.inet.10.77.0.8'));
    assert.ok(!keys.includes('feature.highdma'));
    assert.ok(!keys.some((key) => key.startsWith('multicast.inet')));
  });

  it('is sorted, each key once', () => {
    for (const name of GOLDENS) {
      const keys = attributesOf(goldenShadow(name)).map(({ key }) => key);
      assert.deepEqual(keys, [...new Set(keys)].sort());
    }
  });

  it('is the same for a bare interface and below a bond, but for the bond and what is below it', () => {
    const bare = valuesOf(goldenShadow('vmxnet3'));
    const bond = valuesOf(goldenShadow('vmxnet3-bond'));
    const only = (a: Map<string, string>, b: Map<string, string>) =>
      [...a.keys()].filter((key) => !b.has(key) && !/^(bond|lower|rule)\./.test(key));
    assert.deepEqual(only(bare, bond), []);
    assert.deepEqual(only(bond, bare), []);
    assert.equal(bond.get('lower.mtu'), '1400');
    assert.equal(bond.get('bond.miimon'), '20');
    assert.equal(bond.get('bond.lacp_rate'), undefined, 'means nothing in active-backup');
  });

  it('does not change as time passes', () => {
    const shadow = goldenShadow('e1000e');
    const later: NetShadow = {
      ...shadow,
      addresses: shadow.addresses.map((address) =>
        address.validSeconds === undefined
          ? address
          : { ...address, validSeconds: address.validSeconds - 60, preferredSeconds: 0 },
      ),
      routes: shadow.routes.map((route) => ({ ...route, args: [...route.args, 'expires', '60'] })),
    };
    assert.deepEqual(attributesOf(later), attributesOf(shadow));
  });

  it('shows a secret by its hash', () => {
    const value = valuesOf(goldenShadow('e1000e')).get('sysctl.ipv6.conf.stable_secret');
    assert.match(value ?? '', /^sha256:[0-9a-f]{16}$/);
  });

  it('escapes what a terminal would act on', () => {
    const shadow = goldenShadow('e1000e');
    const hostile: NetShadow = { ...shadow, link: { ...shadow.link, alias: 'a\u001b[2Jb\nc\u202ed' } };
    assert.equal(valuesOf(hostile).get('link.alias'), 'a\\u{1b}[2Jb\\u{a}c\\u{202e}d');
  });

  it('numbers routes that share a key', () => {
    const shadow = goldenShadow('e1000e');
    const route = {
      family: 'inet6' as const,
      table: 'main',
      type: 'unicast',
      destination: 'fd99::/64',
      automatic: false,
      multipath: false,
    };
    const both = [
      { ...route, args: ['dev', 'eth0', 'metric', '5', 'mtu', '1300'] },
      { ...route, args: ['dev', 'eth0', 'metric', '5', 'mtu', '1400'] },
    ];
    for (const routes of [both, both.toReversed()]) {
      const values = valuesOf({ ...shadow, routes });
      assert.equal(values.get('route.inet6.main.fd99::/64,metric=5'), 'dev {dev} metric 5 mtu 1300');
      assert.equal(values.get('route.inet6.main.fd99::/64,metric=5#2'), 'dev {dev} metric 5 mtu 1400');
    }
  });
});
