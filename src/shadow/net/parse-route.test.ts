import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseRoutes, parseRules } from './parse-route.ts';

function routesOf(lines: string[], family: 'inet' | 'inet6' = 'inet', lower?: string) {
  const unknown: string[] = [];
  const { routes, tables } = parseRoutes(lines, family, { carrying: 'eth0', lower }, (where, text) =>
    unknown.push(`${where}: ${text}`),
  );
  return { routes, tables, unknown };
}

it('takes a route of another interface whose source is an address of this one: it goes when the address goes', () => {
  const lines = [
    'unicast 10.5.0.0/16 via 10.81.0.1 dev eth1 table main proto boot scope global src 10.77.0.10 ',
    'unicast 10.81.0.0/24 dev eth1 table main proto kernel scope link src 10.77.0.10 ',
    'unicast 10.6.0.0/16 via 10.81.0.1 dev eth1 table main proto boot scope global src 10.81.0.20 ',
  ];
  const addresses = new Set(['10.77.0.10']);
  const { routes } = parseRoutes(lines, 'inet', { carrying: 'eth0', addresses }, () => {});
  assert.deepEqual(
    routes.map(({ args }) => args.join(' ')),
    ['via 10.81.0.1 dev eth1 scope global src 10.77.0.10'],
  );
});

describe('arguments of a route', () => {
  const table: { name: string; line: string; args: string; family?: 'inet6' }[] = [
    {
      name: 'every metric, locked or not',
      line: 'unicast 10.1.0.0/16 via 10.77.0.1 dev eth0 table main proto static scope global src 10.77.0.10 metric 100 realm 5 mtu lock 1400 window 1000 rtt 100ms rttvar 50ms ssthresh 10 cwnd lock 10 advmss 1300 reordering 5 hoplimit 55 initcwnd 20 features ecn rto_min lock 200ms initrwnd 22 quickack 1 congctl lock cubic fastopen_no_cookie 1 ',
      args: 'via 10.77.0.1 dev eth0 proto static scope global src 10.77.0.10 metric 100 realms 5 mtu lock 1400 window 1000 rtt 100ms rttvar 50ms ssthresh 10 cwnd lock 10 advmss 1300 reordering 5 hoplimit 55 initcwnd 20 features ecn rto_min 200ms initrwnd 22 quickack 1 congctl lock cubic fastopen_no_cookie 1',
    },
    {
      name: 'an IP tunnel, whose own dst is not the destination',
      line: 'unicast 10.8.0.0/16  encap ip id 5 src 10.77.0.10 dst 1.2.3.4 ttl 9 tos 0 dev eth0 table main proto boot scope link ',
      args: 'encap ip id 5 src 10.77.0.10 dst 1.2.3.4 ttl 9 tos 0 dev eth0 scope link',
    },
    {
      name: 'a segment list, printed in another form than it is given',
      line: 'unicast 10.9.0.0/16  encap seg6 mode encap segs 2 [ fc00::1 fc00::2 ] dev eth0 table main proto boot scope link ',
      args: 'encap seg6 mode encap segs fc00::1,fc00::2 dev eth0 scope link',
    },
    {
      name: 'MPLS labels',
      line: 'unicast 10.7.0.0/16  encap mpls  100/200 ttl 5 via 10.77.0.1 dev eth0 table main proto boot scope global ',
      args: 'encap mpls 100/200 ttl 5 via 10.77.0.1 dev eth0 scope global',
    },
    {
      name: 'another table, a TOS, and state that is nobody’s wish',
      line: 'unicast 10.5.0.0/16 tos 0x10 via 10.77.0.1 dev eth0 table 100 proto boot scope global onlink linkdown dead offload ',
      args: 'tos 0x10 via 10.77.0.1 dev eth0 table 100 scope global onlink',
    },
    {
      name: 'IPv6: no scope, the preference where it is not the usual one, a lifetime',
      family: 'inet6',
      line: 'unicast default via fe80::1 dev eth0 table main proto boot scope global metric 50 expires 589sec mtu 1400 hoplimit 5 pref high',
      args: 'via fe80::1 dev eth0 metric 50 mtu 1400 hoplimit 5 pref high expires 589',
    },
    {
      name: 'IPv6 from a source',
      family: 'inet6',
      line: 'unicast fd90::/64 from fd77::/64 via fd77::1 dev eth0 table main proto boot scope global metric 1024 pref medium',
      args: 'from fd77::/64 via fd77::1 dev eth0 metric 1024',
    },
  ];
  for (const { name, line, args, family } of table) {
    it(name, () => {
      const { routes, unknown } = routesOf([line], family);
      assert.deepEqual(unknown, []);
      assert.equal(routes[0]?.args.join(' '), args);
    });
  }
});

describe('which routes', () => {
  it('are automatic: of addresses, of router advertisements, of redirects', () => {
    const { routes } = routesOf(
      [
        'unicast fd77::/64 dev eth0 table main proto kernel scope global metric 256 pref medium',
        'unicast default via fe80::1 dev eth0 table main proto ra scope global metric 1024 expires 1700sec hoplimit 64 pref medium',
        'anycast fd77::77 dev eth0 table local proto boot scope global metric 1024 pref medium',
      ],
      'inet6',
    );
    assert.deepEqual(
      routes.map(({ automatic }) => automatic),
      [true, true, false],
    );
  });

  it('are there: not those that have run out and are only not cleared away yet', () => {
    const line = 'unicast default via fe80::1 dev eth0 table main proto ra scope global metric 1024';
    const { routes } = routesOf(
      [`${line} expires -3sec pref medium`, `${line} expires 3sec pref low`],
      'inet6',
    );
    assert.deepEqual(
      routes.map(({ args }) => args.at(-1)),
      ['3'],
    );
  });

  it('are of interest: by any next hop, not those of others', () => {
    const { routes, tables } = routesOf([
      'unicast 10.1.0.0/16 table 7 proto boot scope global ',
      '\tnexthop via 10.0.0.1 dev other weight 1 ',
      '\tnexthop via 10.0.0.2 dev eth0 weight 2 onlink linkdown ',
      'unicast 10.2.0.0/16 dev other table 8 proto boot scope link ',
      'unreachable 10.3.0.0/16 table main proto boot scope global metric 5 ',
      'local 10.0.0.3 dev eth0 table local proto kernel scope host src 10.0.0.3 ',
    ]);
    assert.deepEqual(
      routes.map(({ destination, multipath }) => [destination, multipath]),
      [['10.1.0.0/16', true]],
    );
    assert.equal(
      routes[0]?.args.join(' '),
      'table 7 scope global nexthop via 10.0.0.1 dev other weight 1 nexthop via 10.0.0.2 dev eth0 weight 2 onlink',
    );
    assert.deepEqual([...tables], ['7']);
  });

  it('are reported: those that are not understood, those by the device below', () => {
    const { routes, unknown } = routesOf(
      [
        'unicast 10.1.0.0/16 encap bpf in obj x.o dev eth0 table main',
        'unicast 10.2.0.0/16 dev eth0-d table main proto boot scope link ',
        'unicast 10.3.0.0/16 dev other table main frobnicate',
        'unicast 10.4.0.0/16 encap seg6 mode encap segs 3 [ fc00::1 fc00::2 ] dev eth0',
        'unicast 10.5.0.0/16 via',
      ],
      'inet',
      'eth0-d',
    );
    assert.deepEqual(routes, []);
    assert.deepEqual(
      unknown.map((text) => text.split(' ')[2]),
      ['10.1.0.0/16', '10.2.0.0/16', '10.4.0.0/16'],
    );
  });
});

describe('rules', () => {
  const rulesOf = (lines: string[]) => {
    const unknown: string[] = [];
    const rules = parseRules(lines, 'inet', { carrying: 'eth0' }, new Set(['100']), (_, text) =>
      unknown.push(text),
    );
    return { rules: rules.map(({ priority, args }) => `${priority} ${args.join(' ')}`), unknown };
  };
  it('that name the interface or a table of its routes are taken, with everything they say', () => {
    assert.deepEqual(
      rulesOf([
        '0:\tfrom all lookup local proto kernel',
        '10:\tnot from 10.0.0.0/8 to 10.1.0.0/16 tos 0x10 fwmark 0x1/0xff iif eth0 [detached] uidrange 0-99 ipproto tcp sport 1-5 dport 80 lookup 55 suppress_prefixlength 0 proto static',
        '11:\tfrom all oif eth0 goto 100 [unresolved] proto unspec',
        '12:\tfrom all lookup 100',
        '13:\tfrom all iif eth1 lookup 55',
        '14:\tfrom all iif eth0 unreachable',
        '1000:\tfrom all lookup [l3mdev-table] proto kernel',
      ]).rules,
      [
        '10 not from 10.0.0.0/8 to 10.1.0.0/16 tos 0x10 fwmark 0x1/0xff iif eth0 uidrange 0-99 ipproto tcp sport 1-5 dport 80 lookup 55 suppress_prefixlength 0 proto static',
        '11 from all oif eth0 goto 100',
        '12 from all lookup 100',
        '14 from all iif eth0 unreachable',
      ],
    );
  });
  it('that are not understood are reported when they name the interface', () => {
    assert.deepEqual(
      rulesOf(['20:\tfrom all iif eth0 frobnicate', '21:\tfrom all iif eth1 frobnicate']).unknown,
      ['20:\tfrom all iif eth0 frobnicate'],
    );
  });
});
