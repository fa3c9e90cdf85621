import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import { parseCapture } from './capture.ts';
import type { Section } from './capture-text.ts';
import { readLink } from './parse-link.ts';
import { portOf } from './parse-port.ts';
import { vlansOf } from './parse-port-vlan.ts';
import { pinFinder, reportTcx, xdpOf } from './parse-programs.ts';
import { LINK, MAC, PCI, shadow } from './plan.test-data.ts';
import { chooseContinuity, planReplay, takesNoBond } from './plan.ts';
import { portDrafts } from './plan-port.ts';
import { xdpAdapted, xdpValue } from './plan-xdp.ts';

const silent = (): void => assert.fail('nothing is to be reported');

describe('a port of a bridge', () => {
  for (const release of ['debian12', 'debian13']) {
    const text = readFileSync(new URL(`./golden/port-${release}.txt`, import.meta.url), 'utf8');
    const captured = parseCapture(text, { mac: '02:00:00:00:00:d0', pciPath: PCI });

    it(`is captured whole, as ${release} prints it`, () => {
      const found = attributesOf(captured)
        .filter(({ key }) => key.startsWith('port.') || key === 'link.xdp')
        .map(({ key, value }) => `${key} ${value}`);
      assert.deepEqual(found, [
        'link.xdp generic id 11 name sfpass tag 3b185187f1855c4c',
        'port.backup_port spare',
        'port.bcast_flood off',
        'port.cost 7',
        'port.fastleave on',
        'port.fdb.02:00:00:00:00:77,vlan=10 static sticky',
        'port.fdb.02:00:00:00:00:78,vlan=20 permanent',
        'port.fdb.02:00:00:00:00:79,self permanent self',
        'port.flood off',
        'port.group_fwd_mask 0x4000',
        'port.guard on',
        'port.hairpin on',
        'port.isolated on',
        'port.learning off',
        'port.locked on',
        'port.mcast_flood off',
        'port.mcast_router 2',
        'port.mcast_to_unicast on',
        'port.mdb.239.1.1.2,src=10.0.0.1,vid=10 permanent',
        'port.neigh_suppress on',
        'port.priority 9',
        'port.proxy_arp on',
        'port.proxy_arp_wifi on',
        'port.root_block on',
        'port.tunnel.30 1000',
        'port.vlan.10 pvid untagged',
        'port.vlan.20-25 tagged',
        'port.vlan.30 tagged state blocking',
        'port.vlan_tunnel on',
      ]);
      assert.deepEqual(captured.unknown, []);
      assert.deepEqual(captured.link.xdp?.[0]?.pin, '/sys/fs/bpf/sfpass');
    });
    it(`is made again, as it was on ${release}`, () => {
      const argv = portDrafts(captured.port, 'eth0', 'prepare').map((d) => [d.tool, ...d.argv].join(' '));
      assert.ok(argv.includes('ip link set dev eth0 type bridge_slave group_fwd_mask 0x4000'));
      assert.deepEqual(
        argv.filter((each) => each.startsWith('bridge')),
        [
          'bridge vlan del dev eth0 vid 1',
          'bridge vlan add dev eth0 vid 10 pvid untagged',
          'bridge vlan add dev eth0 vid 20-25',
          'bridge vlan add dev eth0 vid 30',
          'bridge vlan set dev eth0 vid 30 state blocking',
          'bridge vlan add dev eth0 vid 30 tunnel_info id 1000',
          'bridge fdb append 02:00:00:00:00:79 dev eth0 self permanent',
          'bridge fdb replace 02:00:00:00:00:77 dev eth0 master static vlan 10 sticky',
          'bridge fdb replace 02:00:00:00:00:78 dev eth0 master permanent vlan 20',
          'bridge mdb add dev br7 port eth0 grp 239.1.1.2 src 10.0.0.1 permanent vid 10',
        ],
      );
    });
  }

  const link = (data: Record<string, unknown>, kind = 'bridge') =>
    readLink({
      ifindex: 2,
      ifname: 'eth0',
      mtu: 1500,
      address: MAC,
      master: 'up0',
      linkinfo: { info_slave_kind: kind, info_slave_data: data },
    });
  const section = (...lines: string[]): Section => ({ name: 'bridge', code: 0, lines });

  it('reports what it does not understand', () => {
    const told: string[] = [];
    const report = (where: string, text: string) => told.push(`${where} ${text}`);
    portOf(
      link({ state: 'forwarding', warp: 7 }),
      undefined,
      section(
        '[{"ifname":"eth0","vlans":[{"vlan":3,"flags":["Odd"]},{"vlan":4,"speed":9}]}]',
        '[{"mac":"02:00:00:00:00:01","flags":["strange"],"master":"up0","state":"static"}]',
        '[{"mdb":[{"port":"eth0","grp":"239.1.1.1","state":"permanent","source_list":[]}]}]',
        'Object "vlan" is unknown',
      ),
      new Set(),
      report,
    );
    assert.equal(told.length, 6, told.join('\n'));
    for (const what of ['warp', 'Odd', 'speed', 'strange', 'source_list', 'is unknown']) {
      assert.ok(
        told.some((each) => each.includes(what)),
        what,
      );
    }
  });
  it('leaves out what is learned, its own address, and those of interfaces above it', () => {
    const port = portOf(
      link({}),
      undefined,
      section(
        JSON.stringify([
          { mac: '02:00:00:00:00:01', master: 'up0', state: '' },
          { mac: MAC, master: 'up0', state: 'permanent' },
          { mac: '02:00:00:00:00:0a', flags: ['self'], state: 'permanent' },
          { mac: '01:00:5e:00:00:01', flags: ['self'], state: 'permanent' },
          { mac: '02:00:00:00:00:0b', master: 'up0', state: 'static', ifname: 'other' },
        ]),
      ),
      new Set(['02:00:00:00:00:0a']),
      silent,
    );
    assert.deepEqual(port?.forwards, []);
  });
  it('has the same VLANs, however the release prints runs of them', () => {
    const one = vlansOf([{ vlan: 20 }, { vlan: 21 }, { vlan: 22 }, { vlan: 30, flags: ['PVID'] }], silent);
    const other = vlansOf(
      [
        { vlan: 20, vlanEnd: 22 },
        { vlan: 30, flags: ['PVID'] },
      ],
      silent,
    );
    assert.deepEqual(one, other);
    assert.deepEqual(
      one.map(({ vid }) => vid),
      ['20-22', '30'],
    );
  });
  it('of a bond has its queue and its priority', () => {
    const port = portOf(
      link({ state: 'BACKUP', queue_id: 3, prio: 7 }, 'bond'),
      undefined,
      undefined,
      new Set(),
      silent,
    );
    assert.deepEqual(
      portDrafts(port, 'eth0', 'raise').map(({ argv }) => argv.slice(4).join(' ')),
      ['type bond_slave queue_id 3', 'type bond_slave prio 7'],
    );
  });
  it('of a team or of Open vSwitch is their daemon’s: that is told', () => {
    for (const kind of ['team', 'openvswitch']) {
      const told: string[] = [];
      const port = portOf(link({}, kind), undefined, undefined, new Set(), (_, text) => told.push(text));
      assert.equal(port, undefined);
      assert.equal(told.length, 1);
    }
  });
});

describe('a port of a bond of the user’s own', () => {
  const member = shadow({ link: { ...LINK, master: { name: 'lag0', kind: 'bond' } } });
  it('is made again, with or without a standby, and the user hears why', () => {
    const portOf = takesNoBond(member);
    assert.equal(portOf, 'bond lag0');
    assert.equal(
      takesNoBond(shadow({ link: { ...LINK, master: { name: 'br0', kind: 'bridge' } } })),
      undefined,
    );
    for (const standby of [true, false]) {
      const facts = { standby, bonding: true, failover: false, portOf };
      const { action, reason } = chooseContinuity('auto', facts);
      assert.equal(action, 'replay');
      assert.match(reason, /port of bond lag0.*other ports carry/);
      assert.throws(() => chooseContinuity('hold', facts), { code: 'CONTINUITY_UNAVAILABLE' });
    }
  });
  it('takes no shadow interface', () => {
    assert.throws(() => planReplay(member, { continuity: 'hold' }), { code: 'CONTINUITY_UNAVAILABLE' });
    const plan = planReplay(member, { continuity: 'replay' });
    assert.ok(plan.sets.attach.some(({ argv }) => argv.join(' ') === 'link set dev eth0 master lag0'));
  });
});

describe('programs', () => {
  const programs = (lines: string): Section => ({ name: 'programs', code: 0, lines: [lines] });
  const pins = (...lines: string[]): Section => ({ name: 'pins', code: 0, lines });
  it('are found by the file that keeps them', () => {
    const find = pinFinder(
      programs('[{"id":5,"pinned":["/sys/fs/bpf/b","/sys/fs/bpf/a"]},{"id":6}]'),
      undefined,
      silent,
    );
    assert.deepEqual(find(5, ''), { pin: '/sys/fs/bpf/a' });
    assert.match(find(6, '').why ?? '', /no file/);
  });
  it('without bpftool are found by the name that tc shows, if one file alone has it', () => {
    const find = pinFinder(
      undefined,
      pins('/sys/fs/bpf/cls', '/sys/fs/bpf/x/two', '/sys/fs/bpf/y/two'),
      silent,
    );
    assert.deepEqual(find(5, 'cls:[*fsobj]'), { pin: '/sys/fs/bpf/cls' });
    assert.match(find(5, 'two:[*fsobj]').why ?? '', /no bpftool/);
    assert.match(find(5, 'obj.o:[tc]').why ?? '', /no bpftool/);
    assert.match(find(5, '').why ?? '', /no bpftool/);
  });
  it('of XDP are those that ip names, in all modes', () => {
    const one = { mode: 1, prog: { id: 7, name: 'x', tag: 'aa' } };
    assert.equal(xdpValue(xdpOf(one, 'eth0', () => ({}), silent)), 'native id 7 name x tag aa');
    const two = { mode: 4, attached: [one, { mode: 3, prog: { id: 8 } }] };
    assert.equal(xdpValue(xdpOf(two, 'eth0', () => ({}), silent)), 'native id 7 name x tag aa; offload id 8');
    const told: string[] = [];
    assert.deepEqual(
      xdpOf(
        { mode: 9 },
        'eth0',
        () => ({}),
        (_, text) => told.push(text),
      ),
      [],
    );
    assert.equal(told.length, 1);
  });
  it('that the kernel runs instead of the device are adapted; another program is not the same', () => {
    assert.match(xdpAdapted('native id 7', 'generic id 7', 'vmxnet3') ?? '', /vmxnet3/);
    assert.equal(xdpAdapted('native id 7', 'generic id 8', 'vmxnet3'), undefined);
    assert.equal(xdpAdapted('native id 7', undefined, 'vmxnet3'), undefined);
  });
  it('come back by their pin; on a shadow interface the kernel runs them, and the device below has them no more', () => {
    const xdp = [{ mode: 'native' as const, id: 7, pin: '/sys/fs/bpf/x' }];
    const words = (plan: ReturnType<typeof planReplay>, set: 'adopt' | 'attach') =>
      plan.sets[set].map(({ argv }) => argv.join(' ')).filter((each) => each.includes('xdp'));
    const captured = shadow({ link: { ...LINK, xdp } });
    assert.deepEqual(words(planReplay(captured, { continuity: 'replay' }), 'attach'), [
      'link set dev eth0 xdp pinned /sys/fs/bpf/x',
    ]);
    assert.deepEqual(words(planReplay(captured, { continuity: 'hold' }), 'adopt'), [
      'link set dev eth0-b xdpgeneric pinned /sys/fs/bpf/x',
      'link set dev eth0-d xdp off',
    ]);
    const lost = planReplay(shadow({ link: { ...LINK, xdp: [{ mode: 'generic', id: 7 }] } }), {
      continuity: 'replay',
    });
    assert.match(lost.losses[0]?.why ?? '', /program 7 cannot be attached again/);
    assert.deepEqual(words(lost, 'attach'), []);
  });
  it('that hang at no qdisc (tcx) are told', () => {
    const told: string[] = [];
    const net =
      '[{"xdp":[],"tc":[{"devname":"eth0","ifindex":2,"kind":"tcx/ingress","name":"gate","prog_id":9},{"kind":"clsact/ingress","id":3}],"flow_dissector":[],"netfilter":[]}]';
    reportTcx({ name: 'tcx', code: 0, lines: [net] }, (_, text) => told.push(text));
    assert.equal(told.length, 1);
    assert.match(told[0] ?? '', /tcx\/ingress gate id 9/);
  });
});
