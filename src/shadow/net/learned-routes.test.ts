import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NetShadow, Route, Upper } from './model.ts';
import { route, shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';
import { verify } from './verify.ts';

const sysctls = (accept: string, forwarding = '0'): NetShadow['sysctls'] => [
  { path: 'ipv6/conf/{dev}/accept_ra', value: accept },
  { path: 'ipv6/conf/{dev}/forwarding', value: forwarding },
];

const learned = (metric: string, expires = '1790'): Route =>
  route('default', ['via', 'fe80::1', 'dev', 'eth0', 'proto', 'ra', 'metric', metric, 'expires', expires], {
    family: 'inet6',
    automatic: true,
  });

const replayed = (given: NetShadow): string[] =>
  planReplay(given, { continuity: 'replay' })
    .sets.attach.map(({ argv }) => argv.join(' '))
    .filter((text) => text.startsWith('route'));

const standIn = (metric: number, expires: number) =>
  `route replace ::/0 via fe80::1 dev eth0 proto ra metric ${metric} expires ${expires}`;

describe('a route that the kernel learned from a router', () => {
  const before = shadow({ routes: [learned('1024')], sysctls: sysctls('1') });

  it('gets a stand-in that the next advertisement does not meet, for as long as the router said', () => {
    assert.deepEqual(replayed(before), [standIn(1025, 1790)]);
  });

  it('gets the stand-in once, however often it is replayed before the first one has run out', () => {
    const again = { ...before, routes: [learned('1024'), learned('1025', '1500')] };
    assert.deepEqual(replayed(again), [standIn(1025, 1790)]);
  });

  it('is left to a network manager where the kernel does not heed advertisements', () => {
    for (const its of [sysctls('0'), sysctls('1', '1')])
      assert.deepEqual(replayed({ ...before, sysctls: its }), [standIn(1024, 1790)]);
    assert.deepEqual(replayed({ ...before, sysctls: sysctls('2', '1') }), [standIn(1025, 1790)]);
  });

  const fateOf = (after: NetShadow) =>
    verify(before, after, planReplay(before, { continuity: 'replay' })).find(({ key }) =>
      key.startsWith('route.'),
    );

  it('is restored once the router has answered, and adapted until then', () => {
    assert.equal(fateOf(before)?.fate, 'restored');
    const waiting = fateOf({ ...before, routes: [learned('1025')] });
    assert.equal(waiting?.fate, 'adapted');
    assert.equal(fateOf({ ...before, routes: [] })?.fate, 'lost');
  });

  it('of an interface above is told in the same way', () => {
    const args = learned('1024').args.map((each) => (each === 'eth0' ? 'eth0.5' : each));
    const link = { ...before.link, name: 'eth0.5', ifindex: 9 };
    const upper: Upper = {
      ...{ link, kind: 'vlan', args: ['id', '5'], over: 'eth0', forwarding: [] },
      ...{ addresses: [], neighbours: [], qdiscs: [], multicast: [], sysctls: sysctls('1') },
      routes: [{ ...learned('1024'), args }],
    };
    const given = { ...before, routes: [], uppers: [upper] };
    const waiting = [{ ...upper, routes: [{ ...learned('1025'), args: args.with(7, '1025') }] }];
    const fates = verify(given, { ...given, uppers: waiting }, planReplay(given, { continuity: 'replay' }));
    assert.equal(fates.find(({ key }) => key.includes('/route.'))?.fate, 'adapted');
  });
});
