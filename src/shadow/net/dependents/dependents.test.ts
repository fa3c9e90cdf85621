/** What is bound to an interface's index, as ss 6.1 and nft 1.0.6 of Debian 12 showed it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Dependent } from '../model.ts';
import { LINK, shadow } from '../plan.test-data.ts';
import { planReplay } from '../plan.ts';
import { verify } from '../verify.ts';
import { fatesOf } from './fate.ts';
import { firewallOf } from './parse-firewall.ts';
import { standingElsewhere } from './parse-namespaces.ts';
import { membershipsOf, socketsOf } from './parse-sockets.ts';

const LAN = new Set(['lan0']);
const silent = () => assert.fail('nothing to report');

const SOCKETS = `
p_raw UNCONN 0      0                 *:lan0        *  users:(("socat",pid=168,fd=5))
p_dgr UNCONN 0      0            [2048]:lan0        *  users:(("busybox",pid=171,fd=5),("busybox",pid=171,fd=6))
p_dgr UNCONN 0      0            [2048]:eth1        *  users:(("lldpd",pid=172,fd=5))
p_raw UNCONN 0      0                 *:*           *
udp   UNCONN 0      0      0.0.0.0%lan0:5000 0.0.0.0:* users:(("socat",pid=164,fd=5))
tcp   LISTEN 0      5      0.0.0.0%eth1:5003 0.0.0.0:* users:(("socat",pid=167,fd=5))
tcp   ESTAB  0      0      [fe80::1]%lan0:22 [fe80::2]%lan0:5555 users:(("sshd",pid=9,fd=4),("bash",pid=10,fd=4))
`.split('\n');

const RULES = `
table inet f { # handle 1
	set s { # handle 3
		type iface_index
		elements = { "lan0" }
	}

	flowtable ft { # handle 4
		hook ingress priority filter
		devices = { lan0, lo }
	}

	chain in { # handle 1
		type filter hook input priority filter; policy accept;
		iif "lan0" tcp dport 99 counter packets 17 bytes 100 accept comment "x # handle 9" # handle 4
		iifname "lan0" counter packets 0 bytes 0 # handle 5
		iif { "lo", "lan0" } counter packets 0 bytes 0 # handle 7
		iif vmap { "lo" : accept, "lan0" : accept } # handle 9
		oif != "lo" counter packets 0 bytes 0 # handle 10
		iif @s counter packets 0 bytes 0 # handle 11
	}

	chain fw { # handle 2
		type filter hook forward priority filter; policy accept;
		iifname "lan0" log prefix "a iif q" drop # handle 12
		fib saddr . iif oif missing counter packets 0 bytes 0 # handle 13
	}
}
table netdev n { # handle 2
	chain ing { # handle 1
		type filter hook ingress device "lan0" priority filter; policy accept;
		ip saddr 1.2.3.4 counter packets 0 bytes 0 drop # handle 2
	}
	chain two { # handle 3
		type filter hook ingress devices = { lan0, lo } priority filter; policy accept;
	}
}
`.split('\n');

describe('sockets', () => {
  it('that are bound to the interface are found with their programs', () => {
    assert.deepEqual(socketsOf(SOCKETS, LAN, silent), [
      { kind: 'packet-socket', on: 'lan0', what: 'p_raw *', owner: 'socat' },
      { kind: 'packet-socket', on: 'lan0', what: 'p_dgr [2048]', owner: 'busybox' },
      { kind: 'socket', on: 'lan0', what: 'udp 0.0.0.0:5000', owner: 'socat' },
      { kind: 'socket', on: 'lan0', what: 'tcp [fe80::1]:22 to [fe80::2]:5555', owner: 'bash, sshd' },
    ]);
  });

  it('that cannot be read are reported', () => {
    const told: string[] = [];
    socketsOf(['udp UNCONN 0 0 what is this'], LAN, (where) => told.push(where));
    assert.deepEqual(told, ['sockets']);
  });
});

describe('multicast memberships', () => {
  it('are those of programs', () => {
    const group = (address: string) => ({
      family: address.includes(':') ? ('inet6' as const) : ('inet' as const),
      address,
      users: 1,
      static: false,
    });
    const multicast = [
      '224.0.0.1',
      '239.5.5.5',
      'ff02::1:ff5f:10',
      'ff05::5',
      'ff02::1',
      'ff01::1',
      '239.1.1.1',
    ];
    const vxlan = { ...shadow(), kind: 'vxlan', over: 'eth0', forwarding: [], multicast: [] };
    const uppers = [{ ...vxlan, link: { ...LINK, name: 'vx0' }, args: ['id', '1', 'group', '239.1.1.1'] }];
    const found = membershipsOf(shadow({ multicast: multicast.map(group), uppers }));
    assert.deepEqual(
      found.map(({ on, what }) => `${what} on ${on}`),
      ['239.5.5.5 on eth0', 'ff05::5 on eth0'],
    );
  });
});

describe('nftables', () => {
  const found = firewallOf(RULES, LAN);

  it('finds what goes by index, and nothing that goes by name', () => {
    assert.deepEqual(
      found.map(({ what }) => what),
      [
        'set inet f s',
        'flowtable inet f ft',
        'rule inet f in: iif "lan0" tcp dport 99 counter accept comment "x # handle 9"',
        'rule inet f in: iif { "lo", "lan0" } counter',
        'rule inet f in: iif vmap { "lo" : accept, "lan0" : accept }',
        'chain netdev n ing: ip saddr 1.2.3.4 counter drop',
        'chain netdev n two: ',
      ],
    );
  });

  it('has nft bind it anew, in words of its own', () => {
    assert.deepEqual(
      found.map(({ nft }) => nft),
      [
        'add element inet f s { "lan0" }',
        'add flowtable inet f ft { hook ingress priority filter; devices = { "lan0" }; }',
        'replace rule inet f in handle 4 iif "lan0" tcp dport 99 counter packets 17 bytes 100 accept comment "x # handle 9"',
        'replace rule inet f in handle 7 iif { "lo", "lan0" } counter packets 0 bytes 0',
        'replace rule inet f in handle 9 iif vmap { "lo" : accept, "lan0" : accept }',
        'add chain netdev n ing { type filter hook ingress device "lan0" priority filter; policy accept; }\nflush chain netdev n ing\nadd rule netdev n ing ip saddr 1.2.3.4 counter packets 0 bytes 0 drop',
        undefined,
      ],
    );
  });
});

describe('interfaces of other namespaces', () => {
  const link = (index: number, kind: string, more = {}) => ({
    ...{ ifindex: 2, ifname: `x${index}`, link_index: index, linkinfo: { info_kind: kind } },
    ...more,
  });
  const section = (name: string, code: number, ...lines: string[]) => ({
    ...{ name: 'namespace', code, lines: [name, ...lines] },
  });
  const OURS = new Map([[3, 'lan0']]);

  it('are those that stand on one of ours; a veth only has its peer there', () => {
    const links = [
      link(3, 'macvlan', { link_netnsid: 0 }),
      link(3, 'vlan'), // on one of its own
      link(3, 'veth', { link_netnsid: 0 }),
      link(4, 'ipvlan', { link_netnsid: 0 }),
      { ifindex: 1, ifname: 'lo', link_netnsid: 0 },
    ];
    assert.deepEqual(standingElsewhere([section('blue', 0, JSON.stringify(links))], OURS, silent), [
      { kind: 'upper', on: 'lan0', what: 'macvlan x3 in blue' },
    ]);
  });

  it('are reported as not seen where nobody could look', () => {
    const told: string[] = [];
    const report = (where: string, text: string) => void told.push(`${where}: ${text}`);
    standingElsewhere([section('blue', 1, 'nsenter: not permitted'), section('red', 0, 'x')], OURS, report);
    assert.deepEqual(told, ['namespace blue: nsenter: not permitted', 'namespace red: x']);
  });
});

describe('fate of dependents', () => {
  const socket: Dependent = { kind: 'socket', on: 'eth0', what: 'udp 0.0.0.0:68', owner: 'dhclient' };
  const rule: Dependent = {
    kind: 'firewall',
    on: 'eth0',
    what: 'rule inet f in: iif "eth0"',
    nft: 'replace rule',
  };
  const given = shadow({ dependents: [socket, rule] });
  const bond = { kind: 'bond' as const, name: 'eth0', members: [], options: {} };

  it('is loss with a new index, and is told by name', () => {
    const plan = planReplay(given, { continuity: 'replay' });
    assert.deepEqual(
      plan.losses.map(({ key, value }) => [key, value]),
      [['dependent.socket.eth0.udp 0.0.0.0:68', 'dhclient']],
    );
    assert.ok(plan.warnings.some((text) => text.includes('udp 0.0.0.0:68') && text.includes('dhclient')));
    assert.ok(plan.sets.attach.some(({ tool, argv }) => tool === 'nft' && argv[0] === 'replace rule'));
  });

  it('takes a chain away first that hooks a device which is still there', () => {
    const nft =
      'add chain netdev n c { type filter hook ingress device "eth0" priority filter; }\nflush chain netdev n c';
    const chain: Dependent = { kind: 'firewall', on: 'eth0', what: 'chain netdev n c: ', nft };
    const { sets } = planReplay(shadow({ dependents: [chain] }), { continuity: 'hold' });
    const adopt = sets.adopt.find(({ tool }) => tool === 'nft')?.argv[0] ?? '';
    assert.match(adopt, /^flush chain netdev n c\ndelete chain netdev n c\nadd chain/);
    assert.ok(!sets.attach.some(({ tool }) => tool === 'nft'));
  });

  it('takes the old index out of a set of interfaces', () => {
    const set: Dependent = {
      kind: 'firewall',
      on: 'eth0',
      what: 'set inet f s',
      nft: 'add element inet f s { "eth0" }',
    };
    const { sets } = planReplay(shadow({ dependents: [set] }), { continuity: 'replay' });
    assert.equal(
      sets.attach.find(({ tool }) => tool === 'nft')?.argv[0],
      'add element inet f s { 2 }\ndelete element inet f s { 2 }\nadd element inet f s { "eth0" }',
    );
  });

  it('is no loss where the interface stays', () => {
    const held = { ...given, standIn: bond };
    assert.deepEqual(planReplay(held, { continuity: 'hold' }).losses, []);
    assert.equal(fatesOf(socket, bond).hold.kept, true);
    assert.equal(fatesOf(socket, { kind: 'none' }).hold.kept, false); // the first time makes the shadow interface
  });

  it('is not called loss when a program closes its socket, and is when the plan foresaw it', () => {
    const outcome = (losses: ReturnType<typeof planReplay>['losses']) =>
      verify(given, shadow({ dependents: [] }), { losses, adaptations: [] }).find(({ key }) =>
        key.includes('socket'),
      )?.fate;
    assert.equal(outcome([]), 'restored');
    assert.equal(outcome(planReplay(given, { continuity: 'replay' }).losses), 'lost');
  });

  it('is told to be unknown where nobody looked', () => {
    const { warnings } = planReplay(shadow(), { continuity: 'replay' });
    assert.ok(warnings.some((text) => text.includes('were not looked for')));
  });
});
