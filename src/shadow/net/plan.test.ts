import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ShadowferryError } from '../../errors.ts';
import type { DeviceAbilities, StandIn } from './model.ts';
import { address, bonded, hostileShadow, LINK, neighbour, route, STANDBY, shadow } from './plan.test-data.ts';
import { chooseContinuity, nameWith, planReplay } from './plan.ts';
import { type Operation, OperationSet, ReplayPlan, Stage } from './plan-model.ts';

const line = ({ tool, argv }: Operation): string => [tool, ...argv].join(' ');
const lines = (operations: readonly Operation[]): string[] => operations.map(line);

/** Positions of the first operations that hold each text, all of which must be there. */
function places(operations: readonly Operation[], texts: readonly string[]): number[] {
  const all = lines(operations);
  return texts.map((text) => {
    const at = all.findIndex((l) => l.includes(text));
    assert.notEqual(at, -1, `no operation holds "${text}" in:\n${all.join('\n')}`);
    return at;
  });
}

function inOrder(operations: readonly Operation[], texts: readonly string[]): void {
  const found = places(operations, texts);
  assert.deepEqual(
    found,
    found.toSorted((a, b) => a - b),
    `${texts.join(' | ')} in:\n${lines(operations).join('\n')}`,
  );
}

const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof ShadowferryError);
    return error.code;
  }
  return 'none';
};

describe('planReplay: any plan', () => {
  const continuity = fc.constantFrom('replay', 'hold', 'bridge');
  const any = fc.tuple(hostileShadow, continuity, fc.boolean(), fc.boolean());

  it('fits its schema, and its operations are numbered without gaps, stage after stage', () => {
    fc.assert(
      fc.property(any, ([bare, mode, below, enslaveNow]) => {
        const standIn: StandIn = { kind: 'bond', name: bare.link.name, members: [], options: {} };
        const given = { ...bare, standby: STANDBY, ...(below ? { standIn } : {}) };
        const plan = planReplay(given, { continuity: mode, enslaveNow });
        assert.deepEqual(ReplayPlan.parse(JSON.parse(JSON.stringify(plan))), plan);
        for (const set of OperationSet.options) {
          const operations = plan.sets[set];
          assert.deepEqual(
            operations.map((o) => o.id),
            operations.map((_, at) => at + 1),
          );
          const stages = operations.map((o) => Stage.options.indexOf(o.stage));
          assert.deepEqual(
            stages,
            stages.toSorted((a, b) => a - b),
          );
        }
      }),
    );
  });

  it('names the direct device and the bond with at most 15 bytes, all names different', () => {
    fc.assert(
      fc.property(
        hostileShadow,
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 9 }),
        (given, name) => {
          const plan = planReplay(
            { ...given, link: { ...given.link, name }, standby: STANDBY },
            { continuity: 'bridge' },
          );
          const bond = plan.sets.adopt.find((o) => o.argv[1] === 'add')?.argv[3] ?? '';
          const names = [plan.interfaceName, plan.deviceName, bond, STANDBY.name];
          assert.equal(new Set(names).size, 4);
          for (const each of [plan.deviceName, bond]) assert.ok(Buffer.byteLength(each) <= 15, each);
        },
      ),
    );
  });

  it('keeps the name of a device away from one that is taken', () => {
    assert.equal(nameWith('eth0', '-d', []), 'eth0-d');
    assert.equal(nameWith('a-very-long-nam', '-d', []), 'a-very-long-n-d');
    assert.equal(nameWith('a-very-long-n-d', '-d', ['a-very-long-n-d']), 'a-very-long--d2');
    assert.equal(nameWith('ééééééé', '-d', []), 'éééééé-d');
  });
});

describe('planReplay: attach in mode replay', () => {
  const attach = (given = shadow()) => planReplay(given, { continuity: 'replay' }).sets.attach;

  it('sets what resets the link before the interface is up, and addresses before routes before neighbours', () => {
    inOrder(attach(), [
      'write /proc/sys/net/ipv4/conf/eth0/rp_filter',
      'ethtool -G eth0 rx 4096 tx 256',
      'ethtool -K eth0',
      'ip link set dev eth0 mtu 1500',
      'ip link set dev eth0 up',
      'ip address replace 10.77.0.10/24 dev eth0 broadcast 10.77.0.255 scope global',
      'ip route replace 10.77.0.1 dev eth0 scope link',
      'ip route replace 0.0.0.0/0 via 10.77.0.1 dev eth0',
      'ip neighbour replace 10.77.0.1',
      'ethtool -C eth0 rx-usecs 3',
    ]);
  });

  it('adds IPv6 addresses without waiting for duplicates, and looks for them again afterwards', () => {
    const operations = attach();
    inOrder(operations, [
      'write /proc/sys/net/ipv6/conf/eth0/accept_dad 0',
      'ip address replace fd77::10/64 dev eth0 nodad',
      'write /proc/sys/net/ipv6/conf/eth0/accept_dad 1',
    ]);
    const back = operations.find((o) => o.stage === 'rest' && o.argv[0]?.endsWith('accept_dad'));
    assert.deepEqual(back?.attributes, ['sysctl.ipv6.conf.accept_dad']);
  });

  it('leaves routes that the kernel makes to the kernel', () => {
    assert.ok(!lines(attach()).some((l) => l.includes('10.77.0.0/24 dev eth0 proto kernel')));
  });

  it('appends the second route of a slot instead of replacing the first', () => {
    const routes = [
      route('10.0.0.0/8', ['via', '10.77.0.1', 'dev', 'eth0']),
      route('10.0.0.0/8', ['via', '10.77.0.2', 'dev', 'eth0']),
      route('10.0.0.0/8', ['via', '10.77.0.3', 'dev', 'eth0', 'metric', '9']),
    ];
    places(attach(shadow({ routes })), [
      'route replace 10.0.0.0/8 via 10.77.0.1',
      'route append 10.0.0.0/8 via 10.77.0.2',
      'route replace 10.0.0.0/8 via 10.77.0.3',
    ]);
  });

  it('uses only forms that may be repeated', () => {
    const rest = new Set(['rule', 'maddress', 'link', 'token']);
    for (const { tool, argv } of attach()) {
      if (tool === 'ip' && !rest.has(argv[0] ?? ''))
        assert.ok(['replace', 'append', 'flush'].includes(argv[1] ?? ''));
      if (tool === 'tc') assert.equal(argv[1], 'replace');
    }
  });

  it('asks the gateway at once and primes the other neighbours', () => {
    places(attach(), [
      'neighbour replace 10.77.0.1 lladdr 52:54:00:00:00:99 dev eth0 nud probe',
      'neighbour replace 10.77.0.5 lladdr 52:54:00:00:00:99 dev eth0 nud stale',
    ]);
  });

  it('asks some neighbour when there is no gateway, so that the switch hears of the guest', () => {
    places(attach(shadow({ routes: [] })), ['nud probe']);
  });

  it('leaves out neighbours that nobody has answered for', () => {
    const neighbours = [neighbour('10.77.0.6', 'failed'), neighbour('10.77.0.7', 'incomplete')];
    assert.ok(!lines(attach(shadow({ neighbours }))).some((l) => l.includes('neighbour')));
  });

  it('keeps a peer, lifetimes, a label and a metric of an address', () => {
    const addresses = [
      address('10.8.0.1', { prefix: 32, peer: '10.8.0.2', metric: 70, label: 'eth0:x' }),
      address('fd78::1', { validSeconds: 500, preferredSeconds: 200, flags: ['noprefixroute'] }),
      address('fd79::1', { state: ['deprecated'] }),
      address('10.9.0.1', { validSeconds: 500 }),
    ];
    places(attach(shadow({ addresses })), [
      'address replace 10.8.0.1 peer 10.8.0.2/32 dev eth0 scope global label eth0:x metric 70',
      'address replace fd78::1/64 dev eth0 valid_lft 500 preferred_lft 200 noprefixroute nodad',
      'address replace fd79::1/64 dev eth0 preferred_lft 0 nodad',
      'address replace 10.9.0.1/24 dev eth0 scope global valid_lft 500 preferred_lft 500',
    ]);
  });

  it("makes the route to an address's network where the address says that the kernel makes none", () => {
    const ownRoute = route('10.77.0.0/24', ['proto', 'kernel', 'scope', 'link', 'metric', '100'], {
      automatic: true,
    });
    const routes = [route('default', ['via', '10.77.0.1']), ownRoute];
    const line = 'route replace 10.77.0.0/24 proto kernel scope link metric 100 dev eth0';
    const added = (flags: string[]) =>
      lines(attach(shadow({ routes, addresses: [address('10.77.0.10', { flags })] })));
    assert.ok(!added([]).some((l) => l.includes(line)));
    places(attach(shadow({ routes, addresses: [address('10.77.0.10', { flags: ['noprefixroute'] })] })), [
      line,
      'route replace 0.0.0.0/0 via 10.77.0.1',
    ]);
  });

  it('does not take an address again that another machine uses', () => {
    const addresses = [address('fd77::66', { state: ['dadfailed'] })];
    const plan = planReplay(shadow({ addresses }), { continuity: 'replay' });
    assert.ok(!lines(plan.sets.attach).some((l) => l.includes('fd77::66')));
    assert.deepEqual(
      plan.losses.map((l) => l.key),
      ['address.inet6.fd77::66/64'],
    );
  });

  it('keeps an interface down that was down', () => {
    const operations = attach(shadow({ link: { ...LINK, up: false } }));
    assert.ok(!lines(operations).includes('ip link set dev eth0 up'));
  });

  it('gives the device the MAC that the user had set', () => {
    const link = { ...LINK, mac: '02:00:00:00:00:01' };
    places(attach(shadow({ link })), ['ip link set dev eth0 address 02:00:00:00:00:01']);
  });

  it('puts parents of qdiscs before children', () => {
    const qdiscs = [
      { kind: 'sfq', handle: '20:', parent: '10:2', args: [] },
      { kind: 'pfifo', handle: '30:', parent: '20:1', args: [] },
      { kind: 'prio', handle: '10:', parent: 'root', args: ['bands', '3'] },
    ];
    inOrder(attach(shadow({ qdiscs })), [
      'tc qdisc replace dev eth0 root handle 10: prio bands 3',
      'tc qdisc replace dev eth0 parent 10:2 handle 20: sfq',
      'tc qdisc replace dev eth0 parent 20:1 handle 30: pfifo',
    ]);
  });

  it('has no other sets, and says what a new index costs', () => {
    const plan = planReplay(shadow(), { continuity: 'replay' });
    assert.deepEqual([plan.sets.adopt, plan.sets.leave, plan.sets.giveback], [[], [], []]);
    assert.equal(plan.deviceName, 'eth0');
    assert.match(plan.warnings.join(), /SO_BINDTODEVICE/);
  });

  it('warns of DHCP', () => {
    const given = shadow({ addresses: [address('10.77.0.10', { state: ['dynamic'] })] });
    assert.match(planReplay(given, { continuity: 'replay' }).warnings.join(), /DHCP/);
  });
});

describe('planReplay: shadow interface', () => {
  it('is made under another name with the standby in it, before the interface is touched', () => {
    const plan = planReplay(shadow({ standby: STANDBY }), { continuity: 'bridge' });
    inOrder(plan.sets.adopt, [
      'ip link add name eth0-b address 52:54:00:00:00:01 mtu 1500 type bond mode active-backup',
      'ip link set dev eth1 down',
      'ip link set dev eth1 master eth0-b',
      'write /proc/sys/net/ipv4/conf/eth0-b/rp_filter 2',
      'ip link set dev eth0 down',
      'ip link set dev eth0 name eth0-d',
      'ip link set dev eth0-b name eth0',
      'ip link set dev eth0 up',
      'ip address replace 10.77.0.10/24 dev eth0',
      'ip route replace 0.0.0.0/0',
      'ip address flush dev eth0-d',
    ]);
    places(plan.sets.adopt, ['write /sys/class/net/eth0-b/bonding/primary eth0-d', 'fail_over_mac none']);
    assert.deepEqual(plan.sets.leave, []);
    assert.ok(!lines(plan.sets.adopt).some((l) => l.includes('eth0-d master')));
  });

  it('follows the active MAC when the standby has another', () => {
    const standby = { ...STANDBY, mac: '52:54:00:00:00:02' };
    places(planReplay(shadow({ standby }), { continuity: 'bridge' }).sets.adopt, ['fail_over_mac active']);
  });

  it('takes the device in at once when nothing migrates, after it has lost its addresses', () => {
    const plan = planReplay(shadow(), { continuity: 'hold', enslaveNow: true });
    inOrder(plan.sets.adopt, [
      'ip address replace 10.77.0.10/24 dev eth0',
      'ip address flush dev eth0-d',
      'ip link set dev eth0-d master eth0',
      'ip route replace 0.0.0.0/0',
    ]);
  });

  it('moves traffic to the standby before the device leaves', () => {
    const plan = planReplay(bonded(['eth0-d', 'eth1'], { standby: STANDBY }), { continuity: 'bridge' });
    assert.deepEqual(lines(plan.sets.leave), [
      'write /sys/class/net/eth0/bonding/active_slave eth1',
      'write /sys/class/net/eth0/bonding/slaves -eth0-d',
    ]);
    assert.deepEqual(plan.sets.adopt, []);
  });

  it('takes a standby in that was not a member', () => {
    const plan = planReplay(bonded(['eth0-d'], { standby: STANDBY }), { continuity: 'bridge' });
    inOrder(plan.sets.leave, ['eth1 down', 'eth1 master eth0', 'active_slave eth1', '-eth0-d']);
  });

  it('only releases the device when it is held', () => {
    const plan = planReplay(bonded(['eth0-d']), { continuity: 'hold' });
    assert.deepEqual(lines(plan.sets.leave), ['write /sys/class/net/eth0/bonding/slaves -eth0-d']);
  });

  it('has nothing to leave when the device is away', () => {
    const { hardware: _, ...away } = bonded([]);
    const plan = planReplay(away, { continuity: 'hold', target: { mac: LINK.mac, pciPath: '0000:05:00.0' } });
    assert.deepEqual(plan.sets.leave, []);
    assert.equal(plan.match.pciPath, '0000:05:00.0');
    assert.equal(plan.deviceName, 'eth0-d');
    assert.equal(
      codeOf(() => planReplay(away, { continuity: 'hold' })),
      'INPUT_FIELD',
    );
  });

  it('takes a new device in by its own name, its addresses untouched', () => {
    const { attach } = planReplay(bonded(['eth0-d', 'eth1'], { standby: STANDBY }), {
      continuity: 'bridge',
    }).sets;
    inOrder(attach, [
      'ethtool -G eth0-d',
      'ip link set dev eth0-d txqueuelen 500',
      'ip link set dev eth0-d master eth0',
    ]);
    assert.ok(!lines(attach).some((l) => /address|route|neighbour|rp_filter| mtu /.test(l)));
  });

  it('forgets neighbours asked in vain when there was no link', () => {
    const { attach } = planReplay(bonded(['eth0-d']), { continuity: 'hold' }).sets;
    inOrder(attach, ['eth0-d master eth0', 'neighbour flush dev eth0 nud incomplete', 'nud stale']);
  });

  it('tells a bond that had no member its MAC and its static neighbours again', () => {
    const base = bonded(['eth0-d']);
    const fixed = neighbour('10.77.0.9', 'permanent');
    const own = { ...base, link: { ...base.link, mac: '02:00:00:00:00:07' }, neighbours: [fixed] };
    const { attach } = planReplay(own, { continuity: 'hold' }).sets;
    inOrder(attach, ['eth0-d master eth0', 'dev eth0 address 02:00:00:00:00:07', 'nud permanent']);
    const bridged = planReplay({ ...own, standby: STANDBY }, { continuity: 'bridge' }).sets;
    assert.ok(!lines(bridged.attach).some((l) => /neighbour|address/.test(l)));
  });

  it('is given back with all that it carried', () => {
    const { giveback } = planReplay(bonded(['eth0-d', 'eth1'], { standby: STANDBY }), {
      continuity: 'bridge',
    }).sets;
    inOrder(giveback, [
      'write /proc/sys/net/ipv4/conf/eth0-d/rp_filter 2',
      'ip link set dev eth0-d nomaster',
      'ip link set dev eth1 nomaster',
      'ip link set dev eth0 down',
      'ip link set dev eth0 name eth0-b',
      'ip link set dev eth0-d name eth0',
      'ip link set dev eth0 mtu 1500',
      'ip link set dev eth0 up',
      'ip address replace 10.77.0.10/24 dev eth0',
      'ip route replace 0.0.0.0/0',
      'ip link delete dev eth0-b',
    ]);
  });

  it('stays when only replay was asked for, which is said', () => {
    const plan = planReplay(bonded(['eth0-d']), { continuity: 'replay' });
    assert.equal(plan.continuity, 'hold');
    assert.match(plan.warnings.join(), /stays/);
  });

  it('needs a standby to bridge', () => {
    assert.equal(
      codeOf(() => planReplay(shadow(), { continuity: 'bridge' })),
      'CONTINUITY_UNAVAILABLE',
    );
  });

  it('is moved into the bridge or VRF that the interface was in', () => {
    const link = { ...LINK, master: { name: 'vrf7', kind: 'vrf' } };
    const { adopt, attach } = planReplay(shadow({ link }), { continuity: 'hold' }).sets;
    inOrder(adopt, ['eth0-b master vrf7', 'eth0 name eth0-d', 'eth0-d nomaster', 'address replace']);
    inOrder(planReplay(shadow({ link }), { continuity: 'replay' }).sets.attach, [
      'eth0 master vrf7',
      'address replace',
    ]);
    assert.ok(!lines(attach).some((l) => l.includes('vrf7')));
  });
});

describe('planReplay: failover of the kernel', () => {
  const given = shadow({
    hardware: { mac: LINK.mac, pciPath: '0000:01:00.0', name: 'eth2', driver: 'e1000e', pciId: '8086:10d3' },
    standIn: { kind: 'failover', name: 'eth0', standby: 'eth1' },
  });

  it('leaves to the kernel what it does itself, and tells the switch of it', () => {
    const plan = planReplay(given, { continuity: 'hold' });
    // with its primary down the kernel would take nothing from the standby either
    assert.deepEqual(plan.sets.leave, []);
    inOrder(plan.sets.attach, ['nud probe', 'ethtool -K eth2', 'ip link set dev eth2 up']);
    assert.match(line(plan.sets.attach.at(-2) ?? assert.fail()), /neighbour replace 10.77.0.1 .* nud probe/);
    assert.deepEqual([plan.sets.adopt, plan.sets.giveback], [[], []]);
    assert.deepEqual([plan.standIn, plan.continuity, plan.deviceName], ['failover', 'bridge', 'eth2']);
  });
});

describe('planReplay: what the destination cannot have', () => {
  const abilities: DeviceAbilities = {
    pciId: '15ad:07b0',
    driver: 'vmxnet3',
    features: [
      { name: 'tx-tcp-segmentation', on: false, fixed: false },
      { name: 'rx-vlan-offload', on: true, fixed: true },
      { name: 'receive-hashing', on: false, fixed: true },
      { name: 'highdma', on: false, fixed: true },
    ],
    rings: [{ name: 'rx', value: '256', max: '1024' }],
    channels: [],
    coalesce: [],
    pause: [],
    maxMtu: 9000,
  };
  const plan = planReplay(shadow({ link: { ...LINK, mtu: 9100 } }), { continuity: 'replay', abilities });

  it('is a loss when it is fixed otherwise or not there', () => {
    assert.deepEqual(plan.losses, [
      { key: 'ring.tx', value: '256', why: 'vmxnet3 has no ring "tx"' },
      { key: 'coalesce.rx-usecs', value: '3', why: 'vmxnet3 has no coalescing parameter "rx-usecs"' },
      { key: 'pause.autoneg', value: 'on', why: 'vmxnet3 has no pause parameter "autoneg"' },
      { key: 'feature.receive-hashing', value: 'on', why: 'vmxnet3 has it fixed off' },
    ]);
  });

  it('is adapted to the nearest that it can have', () => {
    assert.deepEqual(
      plan.adaptations.map(({ key, value, now }) => [key, value, now]),
      [
        ['ring.rx', '4096', '1024'],
        ['link.mtu', '9100', '9000'],
      ],
    );
    places(plan.sets.attach, ['ethtool -G eth0 rx 1024', 'mtu 9000']);
  });

  it('is not asked for', () => {
    const features = plan.sets.attach.find((o) => o.argv[0] === '-K');
    // its value there says nothing about a fresh device, so it is asked for even when it is equal
    assert.deepEqual(features?.argv, ['-K', 'eth0', 'tx-tcp-segmentation', 'off']);
    assert.ok(!lines(plan.sets.attach).some((l) => /ethtool -[AC]/.test(l)));
  });

  it('lowers the MTU of the bond, which takes no member that cannot have it', () => {
    const { attach } = planReplay(bonded(['eth0-d'], { link: { ...LINK, mtu: 9100 } }), {
      continuity: 'hold',
      abilities,
    }).sets;
    inOrder(attach, ['tune mtu eth0-d eth0 9000 fits', 'eth0-d master eth0']);
  });

  it('of an MTU is found out in the guest where it is not known', () => {
    const jumbo = { link: { ...LINK, mtu: 9000 } };
    const held = planReplay(bonded(['eth0-d'], jumbo), { continuity: 'hold' }).sets.attach;
    inOrder(held, ['tune mtu eth0-d eth0 9000', 'eth0-d master eth0']);
    const bare = planReplay(shadow(jumbo), { continuity: 'replay' }).sets.attach;
    inOrder(bare, ['tune mtu eth0 eth0 9000', 'ip link set dev eth0 up']);
    const plain = planReplay(bonded(['eth0-d']), { continuity: 'hold' }).sets.attach;
    assert.ok(!lines(plain).some((l) => /mtu/.test(l)));
  });

  it('counts for nothing where the source had no choice either', () => {
    assert.ok(!plan.losses.some((l) => l.key === 'feature.highdma'));
  });
});

describe('chooseContinuity', () => {
  const all = { standby: true, bonding: true, failover: false };
  const rows: [Parameters<typeof chooseContinuity>, string][] = [
    [['auto', all], 'bridge'],
    [['auto', { ...all, standby: false }], 'hold'],
    [['auto', { ...all, bonding: false }], 'replay'],
    [['auto', { standby: true, bonding: false, failover: true }], 'bridge'],
    [['hold', all], 'hold'],
    [['replay', { ...all, bonding: false }], 'replay'],
  ];
  for (const [args, action] of rows) {
    it(`takes ${action} for ${args[0]} with ${JSON.stringify(args[1])}`, () => {
      const decision = chooseContinuity(...args);
      assert.equal(decision.action, action);
      assert.ok(decision.reason.length > 0);
    });
  }

  const refused: Parameters<typeof chooseContinuity>[] = [
    ['bridge', { ...all, standby: false }],
    ['bridge', { ...all, bonding: false }],
    ['hold', { ...all, bonding: false }],
    ['hold', { ...all, failover: true }],
  ];
  for (const args of refused) {
    it(`refuses ${args[0]} with ${JSON.stringify(args[1])}`, () => {
      assert.equal(
        codeOf(() => chooseContinuity(...args)),
        'CONTINUITY_UNAVAILABLE',
      );
    });
  }
});
