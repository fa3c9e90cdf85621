import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attributesOf } from './attributes.ts';
import { captureArgs, captureScript, parseCapture } from './capture.ts';
import { GOLDENS, type GoldenName, goldenIdentity, goldenShadow, goldenText } from './golden.test-data.ts';
import { NetShadow, type Route } from './model.ts';

const routeTo = (shadow: NetShadow, destination: string): Route => {
  const route = shadow.routes.find((one) => one.destination === destination);
  assert.ok(route, `no route to ${destination}`);
  return route;
};

describe('parseCapture on goldens', () => {
  for (const name of GOLDENS) {
    it(`gives a shadow of the model for ${name}`, () => {
      const shadow = goldenShadow(name);
      assert.deepEqual(NetShadow.parse(structuredClone(shadow)), shadow);
    });
  }

  it('reads the device, its driver and what the driver can do', () => {
    const { hardware, driver } = goldenShadow('e1000e');
    assert.deepEqual(hardware, {
      mac: '52:54:00:00:00:01',
      pciPath: '0000:01:00.0',
      name: 'eth0',
      driver: 'e1000e',
      pciId: '8086:10d3',
    });
    assert.deepEqual(driver?.rings, [
      { name: 'rx', value: '512', max: '4096' },
      { name: 'tx', value: '512', max: '4096' },
    ]);
    assert.deepEqual(driver?.coalesce, [{ name: 'rx-usecs', value: '50' }]);
    assert.equal(driver?.maxMtu, 9212);
    const feature = (wanted: string) => driver?.features.find(({ name }) => name === wanted);
    assert.deepEqual(feature('tx-tcp-segmentation'), {
      name: 'tx-tcp-segmentation',
      on: false,
      fixed: false,
    });
    assert.deepEqual(feature('highdma'), { name: 'highdma', on: true, fixed: true });
    assert.equal(feature('tcp-segmentation-offload'), undefined, 'an aggregate follows from its parts');
  });

  it('finds virtio devices one level further down', () => {
    const { hardware } = goldenShadow('virtio-net');
    assert.equal(hardware?.driver, 'virtio_net');
    assert.equal(hardware?.pciId, '1af4:1041');
  });

  it('reads link state as the user set it', () => {
    const { link } = goldenShadow('e1000e');
    assert.deepEqual(link, {
      name: 'eth0',
      ifindex: 2,
      mac: '52:54:00:00:00:01',
      mtu: 1400,
      txqueuelen: 500,
      alias: 'lab "uplink" №1',
      up: true,
      promisc: true,
      allmulti: false,
      multicast: true,
      arp: true,
      group: '5',
      addrGenMode: 'eui64',
      altnames: ['uplink-with-a-long-name'],
    });
  });

  it('keeps what JSON would lose of a route: locks, and the right destination', () => {
    assert.deepEqual(
      routeTo(goldenShadow('e1000e'), '10.1.0.0/16').args.join(' '),
      'via 10.77.0.2 dev eth0 scope global mtu lock 1300 advmss 1200 initcwnd 20 rto_min 300ms congctl cubic',
    );
  });

  it('reads multipath routes, other tables, foreign gateways and onlink', () => {
    const shadow = goldenShadow('e1000e');
    const multipath = routeTo(shadow, '10.3.0.0/16');
    assert.equal(multipath.multipath, true);
    assert.equal(multipath.table, '100');
    assert.equal(
      multipath.args.join(' '),
      'table 100 scope global nexthop via 10.77.0.1 dev eth0 weight 2 nexthop via 10.77.0.2 dev eth0 weight 3',
    );
    assert.equal(routeTo(shadow, '10.7.0.0/16').args.join(' '), 'via inet6 fe80::77 dev eth0 scope global');
    assert.equal(
      routeTo(shadow, '10.5.0.0/16').args.join(' '),
      'via 172.16.0.1 dev eth0 scope global onlink',
    );
  });

  it('leaves out routes of addresses and routes without a device', () => {
    const { routes } = goldenShadow('e1000e');
    assert.ok(!routes.some(({ destination }) => destination === '10.4.0.0/16'), 'a blackhole has no device');
    assert.ok(!routes.some(({ table }) => table === 'local'));
    assert.deepEqual(
      routes.filter(({ automatic }) => automatic).map(({ destination }) => destination),
      ['10.77.0.0/24', '10.88.0.2', 'fd77::/64', 'fd79::10', 'fe80::/64'],
    );
  });

  it('reports a nexthop object and keeps its route as a plain one', () => {
    const shadow = goldenShadow('vmxnet3');
    assert.equal(routeTo(shadow, '10.6.0.0/16').args.join(' '), 'via 10.77.0.3 dev eth0 scope global');
    assert.deepEqual(
      shadow.unknown.map(({ where }) => where),
      ['nexthop'],
    );
  });

  it('takes the rules that name the interface or look up a table of its own', () => {
    assert.deepEqual(
      goldenShadow('e1000e').rules.map(
        ({ family, priority, args }) => `${family} ${priority} ${args.join(' ')}`,
      ),
      [
        'inet 100 from all iif eth0 lookup 100',
        'inet 101 from 10.77.0.10 fwmark 0x1/0xff lookup 100',
        'inet6 103 from all oif eth0 lookup main',
      ],
    );
  });

  it('reads neighbours: static, learned, proxied, by somebody else', () => {
    const { neighbours } = goldenShadow('e1000e');
    const of = (wanted: string) => neighbours.find(({ address }) => address === wanted);
    assert.equal(of('10.77.0.9')?.state, 'permanent');
    assert.equal(of('10.77.0.8')?.state, 'stale');
    assert.equal(of('10.77.0.7')?.externLearn, true);
    assert.equal(of('10.77.0.77')?.proxy, true);
    assert.equal(of('fd77::9')?.router, true);
    assert.ok(!neighbours.some(({ mac }) => mac?.startsWith('33:33')), "the kernel's own entries");
  });

  it('tells addresses that the kernel makes', () => {
    const { addresses } = goldenShadow('e1000e');
    assert.deepEqual(
      addresses
        .filter(({ protocol }) => protocol !== undefined)
        .map(({ local, protocol }) => [local, protocol]),
      [['fe80::5054:ff:fe00:1', 'kernel_ll']],
    );
    const dynamic = addresses.find(({ local }) => local === 'fd78::10');
    assert.deepEqual(dynamic?.state, ['dynamic']);
    assert.deepEqual(dynamic?.flags, ['nodad', 'noprefixroute']);
  });

  it('reads sysctls whole, without the interface in their path', () => {
    const value = (path: string) => goldenShadow('e1000e').sysctls.find((one) => one.path === path)?.value;
    assert.equal(value('ipv4/conf/{dev}/rp_filter'), '2');
    assert.equal(value('ipv4/neigh/{dev}/gc_stale_time'), '120');
    assert.equal(value('ipv6/neigh/{dev}/base_reachable_time_ms'), '30000', 'several digits');
    assert.equal(value('ipv6/conf/{dev}/stable_secret'), '2001:0db8:0000:0000:0000:0000:0000:0001');
    assert.equal(value('ipv6/neigh/{dev}/base_reachable_time'), undefined, 'the same in other units');
    assert.equal(value('ipv6/conf/{dev}/mtu'), undefined, "it is the link's");
  });
});

describe('what else is set on a driver, its queues and its interrupts', () => {
  const tuning = (name: GoldenName) =>
    (goldenShadow(name).driver?.tuning ?? []).map((setting) => `${setting.name}=${setting.value}`);
  it('is read of a device with a vector for each direction', () => {
    assert.deepEqual(tuning('e1000e-tuned'), [
      'media.advertise=1000baseT/Full 100baseT/Full',
      'wake.on=um',
      'message.level=0x00000003',
      'private-flag.s0ix-enabled=off',
      'clock.index=0',
      'clock.stamps=hardware-receive hardware-transmit',
      'queue.rx-0.rps_cpus=2',
      'queue.rx-0.rps_flow_cnt=64',
      'queue.tx-0.bql_limit_max=500000',
      'napi.gro_flush_timeout=30000',
      'irq.rx-0=1',
      'queue.rps_sock_flow_entries=1024',
    ]);
    assert.deepEqual(goldenShadow('e1000e-tuned').driver?.layout, {
      ...{ rx: 1, tx: 1, vectors: ['rx-0', 'tx-0', 'other-0'], allCpus: '3' },
    });
  });
  it('is read of a device with a vector for each pair of queues', () => {
    assert.deepEqual(tuning('vmxnet3-queues'), [
      'wake.on=u',
      'rss.spread=weight 3 1',
      'rss.function=toeplitz',
      'queue.tx-0.xps_cpus=2',
      'queue.tx-1.xps_cpus=1',
      'napi.threaded=1',
      'irq.both-0=2',
    ]);
    assert.deepEqual(goldenShadow('vmxnet3-queues').driver?.layout?.vectors, ['both-0', 'both-1', 'other-0']);
  });
  it('is read of a virtio device, whose vectors are not named by the interface', () => {
    const found = tuning('virtio-net-queues');
    for (const text of [
      'rss.spread=weight 1 7',
      'flow-hash.udp4=sd',
      'queue.tx-0.xps_cpus=3',
      'irq.tx-1=2',
    ]) {
      assert.ok(found.includes(text), text);
    }
    const { vectors } = goldenShadow('virtio-net-queues').driver?.layout ?? {};
    assert.deepEqual(vectors, ['other-0', 'rx-0', 'tx-0', 'rx-1', 'tx-1']);
  });
  it('shows a key only as its hash', () => {
    const key = attributesOf(goldenShadow('virtio-net-queues')).find((each) => each.key === 'rss.key');
    assert.match(key?.value ?? '', /^sha256:[0-9a-f]{16}$/);
  });
});

describe('the interface that carries the addresses', () => {
  it('is the bond, when the device is in an active-backup one', () => {
    const shadow = goldenShadow('e1000e-bond');
    assert.equal(shadow.link.name, 'bond0');
    assert.equal(shadow.lower?.name, 'bond0-d');
    assert.equal(shadow.hardware?.name, 'bond0-d');
    assert.ok(shadow.standIn.kind === 'bond');
    assert.equal(shadow.standIn.active, 'bond0-d');
    assert.deepEqual(shadow.standIn.members, ['bond0-d', 'stby']);
    assert.equal(shadow.standIn.options.mode, 'active-backup');
    assert.equal(shadow.standIn.options.miimon, '20');
    assert.equal(shadow.link.master, undefined);
    assert.equal(shadow.lower?.master, undefined, 'its shadow interface is no master of another kind');
    assert.deepEqual(shadow.standby, {
      name: 'stby',
      mac: '52:54:00:00:00:01',
      pciPath: '0000:02:00.0',
      driver: 'virtio_net',
    });
  });

  it('is the bond, when the device is away', () => {
    const shadow = goldenShadow('e1000e-bond-away');
    assert.equal(shadow.hardware, undefined);
    assert.equal(shadow.driver, undefined);
    assert.equal(shadow.link.name, 'bond0');
    assert.equal(shadow.standby?.name, 'stby');
    assert.equal(shadow.addresses.length, goldenShadow('e1000e-bond').addresses.length);
  });

  it('is the failover master, which shares PCI function and MAC with the standby', () => {
    const shadow = goldenShadow('e1000e-failover');
    assert.deepEqual(shadow.standIn, { kind: 'failover', name: 'eth0', standby: 'eth1' });
    assert.equal(shadow.hardware?.name, 'eth2');
    assert.equal(shadow.standby?.name, 'eth1');
  });

  it('is the device itself, when it is in a bridge', () => {
    const shadow = goldenShadow('odd-names');
    assert.deepEqual(shadow.standIn, { kind: 'none' });
    assert.deepEqual(shadow.link.master, { name: 'br0', kind: 'bridge' });
  });
});

describe('the standby', () => {
  const parse = (hint: { standbyPciPath?: string; standbyMac?: string }) =>
    parseCapture(goldenText('e1000e-bond'), goldenIdentity('e1000e-bond'), hint).standby?.name;
  it('is found by PCI path and by MAC', () => {
    assert.equal(parse({ standbyPciPath: '0000:02:00.0' }), 'stby');
    assert.equal(parse({ standbyMac: '52:54:00:00:00:01' }), 'stby');
  });
  it('is none, when what the VM was given is not there', () => {
    assert.equal(parse({ standbyPciPath: '0000:03:00.0' }), undefined);
    assert.equal(parse({ standbyPciPath: '0000:02:00.0', standbyMac: '52:54:00:00:00:99' }), undefined);
  });
});

describe('names and identity', () => {
  const odd = '-d"\'$*é\\x';
  it('takes names that would break a shell', () => {
    const shadow = goldenShadow('odd-names');
    assert.equal(shadow.link.name, odd);
    assert.equal(shadow.link.alias, 'two\nlines @@ end\ttab');
    assert.deepEqual(routeTo(shadow, '10.10.0.0/16').args, ['dev', odd, 'scope', 'link']);
    assert.equal(shadow.rules[0]?.args.join(' '), `from all iif ${odd} lookup 55`);
    assert.ok(shadow.sysctls.length > 100);
  });

  it('reports what is seen and not replayed: nothing of these', () => {
    assert.deepEqual(
      goldenShadow('odd-names').unknown.map(({ where }) => where),
      ['port'], // taken before the bridge was asked
    );
    const { classes, filters } = goldenShadow('odd-names');
    assert.equal(classes?.[0]?.id, '1:10');
    assert.equal(filters?.[0]?.kind, 'matchall');
  });

  it('finds a device whose MAC the guest has changed by its permanent one', () => {
    const shadow = goldenShadow('mac-changed');
    assert.equal(shadow.hardware?.mac, '52:54:00:00:00:01');
    assert.equal(shadow.link.mac, '52:54:00:00:00:77');
  });

  it('does not take a device with another permanent MAC for the one it looks for', () => {
    const identity = { ...goldenIdentity('mac-changed'), mac: '52:54:00:00:00:02' };
    assert.throws(() => parseCapture(goldenText('mac-changed'), identity), { code: 'GUEST_LACKS' });
  });

  it('says that the device is not there', () => {
    assert.throws(() => goldenShadow('absent'), {
      code: 'GUEST_LACKS',
      message: /52:54:00:00:00:01 at 0000:01:00.0/,
    });
  });
});

describe('what is no capture', () => {
  const identity = goldenIdentity('e1000e');
  it('is refused when it is cut off anywhere', () => {
    const text = goldenText('e1000e');
    for (const at of [0, 1, 100, 5000, text.length - 10]) {
      assert.throws(
        () => parseCapture(text.slice(0, at), identity),
        { code: 'GUEST_COMMAND_FAILED' },
        String(at),
      );
    }
  });
  it('is refused when it is something else', () => {
    assert.throws(() => parseCapture('sh: 1: not found\n', identity), { code: 'GUEST_COMMAND_FAILED' });
  });
  it('says that iproute2 is missing', () => {
    const text = goldenText('e1000e').replace(/@@ ip-json\n[^@]*@@\. 0/, '@@ ip-json\nnone here\n@@. 127');
    assert.throws(() => parseCapture(text, identity), { code: 'GUEST_LACKS', message: /iproute2/ });
  });
  it('does without ethtool, and says so', () => {
    const text = goldenText('e1000e').replace(
      /@@ ethtool-[\s\S]*(?=@@ end)/,
      '@@ ethtool-k\nno ethtool\n@@. 127\n',
    );
    const shadow = parseCapture(text, identity);
    assert.deepEqual(shadow.driver?.features, []);
    assert.deepEqual(shadow.unknown.at(-1), { where: 'section ethtool-k', text: 'no ethtool' });
  });
});

describe('captureArgs', () => {
  const identity = goldenIdentity('e1000e');
  it('names the device, or the shadow interface when the device is away', () => {
    assert.deepEqual(captureArgs(identity), ['52:54:00:00:00:01', '0000:01:00.0']);
    assert.deepEqual(captureArgs(identity, { away: { interface: 'bond0' } }), [
      '52:54:00:00:00:01',
      '-',
      'bond0',
    ]);
  });
  it('goes with a script that is there', () => {
    assert.match(captureScript(), /^#!\/bin\/sh\n/);
  });
});

describe('speed', () => {
  it('parses 10,000 routes in less than 300 ms', () => {
    const routes = Array.from(
      { length: 10_000 },
      (_, i) =>
        `unicast 10.${128 + (i >> 13)}.${(i >> 5) & 255}.${(i & 31) * 8}/29 via 10.77.0.1 dev eth0 table main proto static scope global metric ${i} mtu lock 1300 `,
    );
    const text = goldenText('e1000e').replace('@@ ip-4\n', `@@ ip-4\n${routes.join('\n')}\n`);
    let ms = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 3; round++) {
      const started = process.threadCpuUsage(); // the machine may be busy with something else
      const shadow = parseCapture(text, goldenIdentity('e1000e'));
      ms = Math.min(ms, process.threadCpuUsage(started).user / 1000);
      assert.ok(shadow.routes.length > 10_000);
    }
    assert.ok(ms < 300, `${ms.toFixed(0)} ms`);
  });
});
