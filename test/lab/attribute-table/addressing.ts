/** Cases of addresses, routes, rules, neighbours and groups. */
import type { AttributeCase } from './case.ts';

/** What `ip` shows of one thing, free of the interface's index and of whether it has a link. */
const show = (command: string, pattern: string): string =>
  `ip ${command} | grep -F -e '${pattern}' | sed -e 's/^[0-9]*: //' -e 's/  */ /g' -e 's/ dead//g' -e 's/ linkdown//g' -e 's/ *\\\\ .*//'`;

const address = (family: '4' | '6', prefixed: string, words: string, key = prefixed): AttributeCase => ({
  key: `address.inet${family === '6' ? '6' : ''}.${key}`,
  set: `ip -${family} address add ${words.includes('peer') ? prefixed.split('/')[0] : prefixed} dev "$dev" ${words}`,
  read: show(`-${family} -o address show dev "$dev"`, prefixed.split('/')[0] ?? ''),
});

const route = (family: '4' | '6', key: string, words: string, table = 'main'): AttributeCase => ({
  key: `route.inet${family === '6' ? '6' : ''}.${table}.${key}`,
  set: `ip -${family} route add ${words}`,
  read: show(`-${family} -o route show table ${table}`, key.split(',')[0] ?? ''),
});

const rule = (family: '4' | '6', priority: number, words: string, key: string): AttributeCase => ({
  key: `rule.inet${family === '6' ? '6' : ''}.${priority}.${key}`,
  set: `ip -${family} rule add ${words} priority ${priority}`,
  read: `ip -${family} rule show | grep '^${priority}:'`,
});

const neighbour = (key: string, words: string, proxy = false): AttributeCase => {
  const at = key.split('.').slice(1).join('.').replace(',proxy', '');
  return {
    key: `neighbour.${key}`,
    set: `ip neighbour add ${proxy ? 'proxy ' : ''}${at} dev "$dev" ${words}`,
    read: show(
      `neighbour show ${proxy ? 'proxy ' : ''}dev "$dev" nud all`.replace('nud all', proxy ? '' : 'nud all'),
      `${at} `,
    ),
  };
};

export const ADDRESSING_CASES: readonly AttributeCase[] = [
  address('4', '10.77.0.30/24', 'label "$dev:x"'),
  address('4', '10.90.0.1/24', 'broadcast 10.90.0.255 scope site'),
  address('4', '10.91.0.1/32', 'peer 10.91.0.2 metric 70', '10.91.0.1/32,peer=10.91.0.2'),
  address('4', '10.92.0.1/24', 'noprefixroute'),
  address('6', 'fd92::1/64', 'nodad noprefixroute'),
  address('6', 'fd93::1/128', 'nodad preferred_lft 0'),
  address('6', 'fd94::1/64', 'nodad home'),
  route(
    '4',
    '10.1.0.0/16,metric=30,via=10.77.0.2',
    '10.1.0.0/16 via 10.77.0.2 dev "$dev" metric 30 mtu lock 1300 advmss 1200 initcwnd 20 rto_min 300ms',
  ),
  route('4', '10.2.0.0/16', '10.2.0.0/16 dev "$dev" scope link table 100', '100'),
  route(
    '4',
    '10.3.0.0/16',
    '10.3.0.0/16 nexthop via 10.77.0.2 dev "$dev" weight 2 nexthop via 10.77.0.3 dev "$dev" weight 3',
  ),
  route('4', '10.5.0.0/16,via=172.16.0.1', '10.5.0.0/16 via 172.16.0.1 dev "$dev" onlink'),
  route('4', '10.6.0.0/16,tos=0x10,via=10.77.0.2', '10.6.0.0/16 tos 0x10 via 10.77.0.2 dev "$dev"'),
  route('6', 'fd91::/64,metric=77,via=fd77::2', 'fd91::/64 via fd77::2 dev "$dev" metric 77 pref high'),
  rule('4', 200, 'iif "$dev" lookup 100', 'from all iif lan0 lookup 100'),
  rule('4', 201, 'from 10.77.0.30 fwmark 0x1/0xff lookup 100', 'from 10.77.0.30 fwmark 0x1/0xff lookup 100'),
  rule('6', 203, 'oif "$dev" lookup main', 'from all oif lan0 lookup main'),
  neighbour('inet.10.77.0.40', 'lladdr 02:00:00:00:00:40 nud permanent'),
  neighbour('inet.10.77.0.41', 'lladdr 02:00:00:00:00:41 nud noarp'),
  neighbour('inet.10.77.0.42', 'lladdr 02:00:00:00:00:42 nud permanent extern_learn'),
  neighbour('inet6.fd77::43', 'lladdr 02:00:00:00:00:43 nud permanent router'),
  neighbour('inet.10.77.0.44,proxy', '', true),
  neighbour('inet6.fd77::44,proxy', '', true),
  {
    key: 'multicast.link.01:00:5e:01:02:03',
    set: 'ip maddress add 01:00:5e:01:02:03 dev "$dev"',
    read: `ip maddress show dev "$dev" | grep -o '01:00:5e:01:02:03.*static'`,
  },
];
