import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressKey, neighbourKey, routeKey, sysctlKey } from './keys.ts';
import { address, neighbour, route } from './plan.test-data.ts';

describe('keys', () => {
  it('name an address with its prefix, and its peer', () => {
    assert.equal(addressKey(address('10.77.0.10')), 'address.inet.10.77.0.10/24');
    assert.equal(
      addressKey(address('10.8.0.1', { prefix: 32, peer: '10.8.0.2' })),
      'address.inet.10.8.0.1/32,peer=10.8.0.2',
    );
  });

  it('tell routes to one destination apart by table, type, metric and gateway', () => {
    const keys = [
      route('10.0.0.0/8', ['dev', 'eth0']),
      route('10.0.0.0/8', ['dev', 'eth0'], { table: '7' }),
      route('10.0.0.0/8', ['dev', 'eth0', 'metric', '5']),
      route('10.0.0.0/8', ['via', '10.0.0.1', 'dev', 'eth0']),
      route('10.0.0.0/8', ['via', 'inet6', 'fe80::1', 'dev', 'eth0'], { family: 'inet' }),
      route('10.0.0.0/8', ['dev', 'eth0'], { type: 'local' }),
    ].map(routeKey);
    assert.equal(new Set(keys).size, keys.length);
    assert.equal(keys[4], 'route.inet.main.10.0.0.0/8,via=fe80::1');
  });

  it('do not take the gateway of a next hop for that of the route', () => {
    const hops = ['nexthop', 'via', '10.0.0.1', 'dev', 'eth0', 'nexthop', 'via', '10.0.0.2', 'dev', 'eth1'];
    assert.equal(routeKey(route('10.0.0.0/8', hops, { multipath: true })), 'route.inet.main.10.0.0.0/8');
  });

  it('leave the name of the interface out of a sysctl', () => {
    assert.equal(sysctlKey({ path: 'ipv4/conf/{dev}/rp_filter' }), 'sysctl.ipv4.conf.rp_filter');
  });

  it('tell a proxy entry from a neighbour', () => {
    const at = '10.77.0.9';
    assert.notEqual(
      neighbourKey(neighbour(at, 'permanent')),
      neighbourKey(neighbour(at, 'permanent', { proxy: true })),
    );
  });
});
