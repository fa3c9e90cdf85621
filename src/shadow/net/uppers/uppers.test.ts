/** What stands on the interface, as iproute2 6.1 shows it, and how it is made again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from '../attributes.ts';
import { parseCapture } from '../capture.ts';
import { compilePlan } from '../compile.ts';
import { goldenShadow, goldenText } from '../golden.test-data.ts';
import type { Upper } from '../model.ts';
import { address, LINK, route, STANDBY, shadow } from '../plan.test-data.ts';
import { planReplay } from '../plan.ts';
import type { ReplayPlan } from '../plan-model.ts';
import { verify } from '../verify.ts';
import { readKind, treatmentOf } from './kinds.ts';
import { isNexthop, nexthopsOf } from './nexthop.ts';
import { standingOn } from './parse-upper.ts';

const silent = () => assert.fail('nothing to report');

const DATA: [kind: string, json: string, args: string][] = [
  [
    'vlan',
    '{"protocol":"802.1ad","id":10,"flags":["LOOSE_BINDING"],"ingress_qos":[{"from":1,"to":2},{"from":3,"to":4}],"egress_qos":[{"from":2,"to":3}]}',
    'protocol 802.1ad id 10 reorder_hdr off loose_binding on ingress-qos-map 1:2 3:4 egress-qos-map 2:3',
  ],
  ['vlan', '{"protocol":"802.1Q","id":20,"flags":["REORDER_HDR"]}', 'protocol 802.1q id 20 reorder_hdr on'],
  [
    'macvlan',
    '{"mode":"source","bcqueuelen":1000,"usedbcqueuelen":1000,"macaddr_count":1,"macaddr_data":["00:11:22:33:44:55"]}',
    'mode source bcqueuelen 1000 macaddr set 00:11:22:33:44:55',
  ],
  [
    'macvtap',
    '{"mode":"passthru","nopromisc":true,"bcqueuelen":1000,"usedbcqueuelen":1000}',
    'mode passthru flag nopromisc bcqueuelen 1000',
  ],
  ['ipvlan', '{"mode":"l3s","bridge":true}', 'mode l3s bridge'],
  [
    'vxlan',
    '{"id":42,"group":"239.1.1.1","link":"lan0","port_range":{"low":0,"high":0},"port":4789,"learning":true,"ttl":5,"df":"unset","ageing":100,"udp_csum":true,"udp_zero_csum6_tx":false,"udp_zero_csum6_rx":false}',
    'id 42 group 239.1.1.1 dstport 4789 learning ttl 5 df unset ageing 100 udpcsum noudp6zerocsumtx noudp6zerocsumrx',
  ],
  [
    'vxlan',
    '{"id":7,"group6":"ff05::100","local6":"fd77::10","link":"lan0","port_range":{"low":1000,"high":2000},"port":4789,"learning":false,"proxy":true,"rsc":true,"l2miss":true,"l3miss":true,"tos":"0x1","df":"set","label":"0x10","ageing":300,"limit":50,"udp_csum":true,"udp_zero_csum6_tx":true,"udp_zero_csum6_rx":true}',
    'id 7 group ff05::100 local fd77::10 srcport 1000 2000 dstport 4789 nolearning proxy rsc l2miss l3miss tos 0x1 ttl inherit df set flowlabel 0x10 ageing 300 maxaddress 50 udpcsum udp6zerocsumtx udp6zerocsumrx',
  ],
];

const upper = (
  name: string,
  kind: string,
  over: string,
  args: string[],
  more: Partial<Upper> = {},
): Upper => ({
  kind,
  over,
  args,
  link: { ...LINK, name, ifindex: 7 },
  addresses: [],
  routes: [],
  neighbours: [],
  qdiscs: [],
  multicast: [],
  sysctls: [],
  forwarding: [],
  ...more,
});

const STACK: Upper[] = [
  upper('v10', 'vlan', 'eth0', ['protocol', '802.1q', 'id', '10'], {
    addresses: [address('10.10.0.1')],
    routes: [route('192.0.2.0/24', ['via', '10.10.0.9', 'dev', 'v10'])],
    sysctls: [
      { path: 'ipv4/conf/{dev}/rp_filter', value: '2' },
      { path: 'ipv6/neigh/{dev}/gc_stale_time', value: '61' },
    ],
  }),
  upper('mv0', 'macvlan', 'v10', ['mode', 'bridge'], {
    link: { ...LINK, name: 'mv0', ifindex: 8, mac: '3e:87:14:aa:cc:35' },
  }),
  upper('gr1', 'gre', 'eth0', ['remote', '10.77.0.2']),
];

const commands = (plan: ReplayPlan, set: 'adopt' | 'attach' | 'giveback') =>
  plan.sets[set].map(({ tool, argv }) => [tool, ...argv].join(' '));

describe('kinds of upper interfaces', () => {
  for (const [kind, json, args] of DATA) {
    it(`${kind}: ${args}`, () => {
      assert.equal(readKind('x', kind, JSON.parse(json), silent).join(' '), args);
    });
  }

  it('reports what is new of a kind that is made again', () => {
    const told: string[] = [];
    readKind('v1', 'vlan', { protocol: '802.1Q', id: 1, colour: 'red' }, (where, text) =>
      told.push(`${where} ${text}`),
    );
    assert.deepEqual(told, ['upper v1 colour="red"']);
  });

  it('knows what the kernel takes away, what it leaves behind, and what nobody can make again', () => {
    const actions = ['vlan', 'ipvtap', 'vxlan', 'gre', 'ip6tnl', 'macsec', 'newkind'].map(
      (kind) => treatmentOf(kind).action,
    );
    assert.deepEqual(actions, ['remake', 'remake', 'remake', 'rebind', 'rebind', 'cannot', 'cannot']);
  });
});

describe('capture of upper interfaces', () => {
  it('finds the VLAN above an interface with a hostile name', () => {
    const [vlan] = goldenShadow('odd-names').uppers ?? [];
    assert.equal(vlan?.kind, 'vlan');
    assert.equal(vlan?.over, '-d"\'$*é\\x');
  });

  it('takes those of other interfaces and of other namespaces for none', () => {
    const link = (ifname: string, more: object) => ({
      ...{ ifindex: 1, ifname, mtu: 1500, flags: [], addr_info: [], txqlen: 0, group: '', address: '' },
      linkinfo: { info_kind: 'vlan', info_data: {} },
      ...more,
    });
    const links = [
      link('v1', { link: 'eth0' }),
      link('v2', { link: 'v1' }),
      link('other', { link: 'eth1' }),
      link('elsewhere', { link: 'eth0', link_netnsid: 0 }),
      link('veth', { link: 'eth0', linkinfo: { info_kind: 'veth' } }),
      link('vx', { linkinfo: { info_kind: 'vxlan', info_data: { link: 'eth0' } } }),
    ];
    const found = standingOn('eth0', new Map(links.map((one) => [one.ifname, one])));
    assert.deepEqual(
      found.map((one) => `${one.link.ifname} on ${one.over}`),
      ['v1 on eth0', 'vx on eth0', 'v2 on v1'],
    );
  });
});

describe('plan for upper interfaces', () => {
  it('makes those again that went with the device, parents first, and binds tunnels anew', () => {
    const plan = planReplay(shadow({ uppers: STACK }), { continuity: 'replay' });
    const did = commands(plan, 'attach');
    const at = (text: string) => {
      const index = did.findIndex((command) => command.includes(text));
      assert.ok(index >= 0, `${text} in\n${did.join('\n')}`);
      return index;
    };
    const order = [
      at('address replace 10.77.0.10/24'),
      at('link add name v10 link eth0 type vlan protocol 802.1q id 10'),
      at('link add name mv0 link v10 address 3e:87:14:aa:cc:35 type macvlan mode bridge'),
      at('link set dev gr1 type gre dev eth0'),
      at('write /proc/sys/net/ipv4/conf/v10/rp_filter 2'),
      at('link set dev v10 up'),
      at('address replace 10.10.0.1/24 dev v10'),
      at('route replace 192.0.2.0/24 via 10.10.0.9 dev v10'),
      at('write /proc/sys/net/ipv6/neigh/v10/gc_stale_time 61'),
    ];
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    assert.ok(!did.some((command) => command.includes('link delete')));
    assert.deepEqual(plan.losses, []);
  });

  it('moves them to a shadow interface that is made, and back when it is given up', () => {
    const adopting = planReplay(shadow({ uppers: STACK }), { continuity: 'hold' });
    const did = commands(adopting, 'adopt').filter((command) =>
      /link (add|delete) .*(v10|mv0)/.test(command),
    );
    assert.match(
      did.join('; '),
      /delete dev mv0; ip link delete dev v10; ip link add name v10 .*; ip link add name mv0/,
    );
    assert.ok(!commands(adopting, 'attach').some((command) => command.includes('v10')));
    const back = commands(
      planReplay(
        shadow({ uppers: STACK, standIn: { kind: 'bond', name: 'eth0', members: ['eth0-d'], options: {} } }),
        { continuity: 'hold' },
      ),
      'giveback',
    );
    assert.ok(back.some((command) => command.startsWith('ip link add name v10 link eth0')));
  });

  it('says of what cannot be made again, and of all that stands on it, that it is lost', () => {
    const uppers = [upper('ms0', 'macsec', 'eth0', []), upper('v5', 'vlan', 'ms0', ['id', '5'])];
    const { losses, sets } = planReplay(shadow({ uppers }), { continuity: 'replay' });
    assert.ok(losses.some(({ key, why }) => key === 'upper.ms0/kind' && why.includes('keys')));
    assert.ok(losses.some(({ key, why }) => key === 'upper.v5/link.mtu' && why.includes('ms0')));
    assert.ok(!sets.attach.some(({ argv }) => argv.includes('v5')));
    const kept = planReplay(
      shadow({ uppers, standIn: { kind: 'bond', name: 'eth0', members: [], options: {} } }),
      { continuity: 'hold' },
    );
    assert.deepEqual(kept.losses, []);
  });

  it('explains an index that is new, and an MTU that the device below cannot have', () => {
    const before = shadow({
      uppers: [upper('v10', 'vlan', 'eth0', ['id', '10'], { link: { ...LINK, name: 'v10', mtu: 9000 } })],
    });
    const { driver } = before;
    assert.ok(driver);
    const after = shadow({
      driver: { ...driver, maxMtu: 1500 },
      uppers: [
        upper('v10', 'vlan', 'eth0', ['id', '10'], {
          link: { ...LINK, name: 'v10', ifindex: 99, mtu: 1500 },
        }),
      ],
    });
    const changed = verify(before, after).filter(({ fate }) => fate !== 'restored');
    assert.deepEqual(
      changed.map((one) => [one.key, one.fate]),
      [
        ['upper.v10/link.ifindex', 'lost'],
        ['upper.v10/link.mtu', 'adapted'],
      ],
    );
  });

  it('has an attribute for every layer', () => {
    const keys = attributesOf(shadow({ uppers: STACK })).map(({ key }) => key);
    for (const key of ['kind', 'link.mac', 'address.inet.10.10.0.1/24', 'sysctl.ipv4.conf.rp_filter'])
      assert.ok(keys.includes(`upper.v10/${key}`), key);
  });
});

/** As `ip -j -d nexthop show` of Debian 12 printed it. */
const NEXTHOPS: Record<string, unknown>[] = JSON.parse(
  '[{"id":5,"gateway":"10.77.0.3","dev":"lan0","scope":"link","protocol":"unspec","flags":[]},{"id":6,"gateway":"10.77.0.4","dev":"lan0","scope":"link","protocol":"static","flags":["onlink"]},{"id":7,"gateway":"fd77::4","dev":"lan0","scope":"link","protocol":"unspec","flags":[]},{"id":8,"gateway":"10.0.0.1","dev":"other","scope":"link","protocol":"unspec","flags":[]},{"id":9,"group":[{"id":8}],"scope":"global","protocol":"unspec","flags":[]},{"id":10,"group":[{"id":5},{"id":6,"weight":3}],"scope":"global","protocol":"unspec","flags":[]},{"id":11,"group":[{"id":5},{"id":6}],"type":"resilient","resilient_args":{"buckets":32,"idle_timer":60,"unbalanced_timer":0,"unbalanced_time":0},"scope":"global","protocol":"unspec","flags":[]},{"id":12,"scope":"global","blackhole":null,"protocol":"unspec","flags":[]},{"id":13,"dev":"lan0","scope":"host","protocol":"unspec","flags":[]},{"id":14,"dev":"lan0","scope":"link","protocol":"unspec","flags":[]}]',
);

describe('nexthop objects', () => {
  it('are those on the interface, and the groups that have one', () => {
    assert.ok(NEXTHOPS.every(isNexthop));
    const found = nexthopsOf(NEXTHOPS, new Set(['lan0']), silent);
    assert.deepEqual(
      found.map(({ id, args }) => `${id} ${args.join(' ')}`),
      [
        '5 via 10.77.0.3 dev lan0',
        '6 via 10.77.0.4 dev lan0 proto static onlink',
        '7 via fd77::4 dev lan0',
        '13 dev lan0',
        '14 dev lan0 inet6',
        '10 group 5/6,3',
        '11 group 5/6 type resilient buckets 32 idle_timer 60 unbalanced_timer 0',
      ],
    );
  });

  it('are reported when a word of them is new', () => {
    const told: string[] = [];
    const report = (_: string, text: string) => told.push(text);
    const encap = { id: 1, dev: 'lan0', encap: 'mpls', dst: '100', flags: [] };
    assert.deepEqual(nexthopsOf([encap], new Set(['lan0']), report), []);
    assert.equal(told.length, 1);
  });

  const nexthops = [
    { id: 5, dev: 'eth0', args: ['via', '10.77.0.3', 'dev', 'eth0'] },
    { id: 14, dev: 'eth0', args: ['dev', 'eth0', 'inet6'] },
    { id: 10, args: ['group', '5'] },
  ];
  const routes = [route('10.6.0.0/16', ['nhid', '10', 'metric', '7'])];

  it('wait for a link, and their routes for them', () => {
    const plan = planReplay(shadow({ nexthops, routes }), { continuity: 'replay' });
    const linked = plan.sets.attach
      .filter(({ stage }) => stage === 'linked')
      .map(({ argv }) => argv.join(' '));
    assert.deepEqual(linked, [
      'nexthop replace id 5 via 10.77.0.3 dev eth0',
      '-6 nexthop replace id 14 dev eth0',
      'nexthop replace id 10 group 5',
      'route replace 10.6.0.0/16 nhid 10 metric 7',
    ]);
    const files = compilePlan(plan, '/d');
    const steps = files.find(({ path }) => path === '/d/linked.steps')?.text ?? '';
    assert.match(steps, /^batch \d+ 1 /);
    assert.doesNotMatch(steps, /stage/);
  });

  it('are tried at once where a standby may have a link, and again with the device', () => {
    const { sets } = planReplay(shadow({ nexthops, routes, standby: STANDBY }), { continuity: 'bridge' });
    const made = (set: 'adopt' | 'attach') => sets[set].filter(({ argv }) => argv.includes('nexthop'));
    assert.deepEqual([...new Set(made('adopt').map(({ stage }) => stage))], ['rest']);
    assert.deepEqual([...new Set(made('attach').map(({ stage }) => stage))], ['linked']);
  });

  it('are used by routes that are captured with them', () => {
    const json =
      '[{"id":5,"gateway":"10.77.0.3","dev":"eth0","scope":"link","protocol":"unspec","flags":[]}]';
    const text = goldenText('e1000e').replace('@@ ip-json\n', `@@ ip-json\n${json}\n`);
    const seen = parseCapture(text, { mac: '52:54:00:00:00:01', pciPath: '0000:01:00.0' });
    assert.deepEqual(seen.nexthops, [{ id: 5, dev: 'eth0', args: ['via', '10.77.0.3', 'dev', 'eth0'] }]);
    const byObject = seen.routes.find(({ destination }) => destination === '10.6.0.0/16');
    assert.deepEqual(byObject?.args, ['nhid', '5', 'scope', 'global']);
  });
});
