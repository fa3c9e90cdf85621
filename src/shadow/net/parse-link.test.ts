import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressesOf, linkStateOf, readLink } from './parse-link.ts';
import { multicastOf, neighbourOf } from './parse-neighbour.ts';

const LINK = { ifindex: 2, ifname: 'eth0', flags: ['UP'], mtu: 1500, address: '52:54:00:00:00:01' };

function read(object: Record<string, unknown>) {
  const unknown: string[] = [];
  const report = (_: string, text: string) => unknown.push(text);
  const link = readLink({ ...LINK, ...object });
  return {
    state: linkStateOf(link, { findPin: () => ({}) }, report),
    addresses: addressesOf(link, report),
    unknown,
  };
}

describe('who made an address, where iproute2 does not say', () => {
  const table: { name: string; address: Record<string, unknown>; made: string | undefined }[] = [
    { name: 'link-local from the MAC', address: { local: 'fe80::5054:ff:fe00:1' }, made: 'kernel_ll' },
    {
      name: 'link-local from a secret',
      address: { local: 'fe80::1:2:3:4', 'stable-privacy': true },
      made: 'kernel_ll',
    },
    { name: 'link-local by hand', address: { local: 'fe80::77' }, made: undefined },
    {
      name: 'from a router advertisement',
      address: { local: 'fd77::5054:ff:fe00:1', dynamic: true, mngtmpaddr: true },
      made: 'kernel_ra',
    },
    {
      name: 'temporary',
      address: { local: 'fd77::1:2:3:4', dynamic: true, temporary: true },
      made: 'kernel_ra',
    },
    {
      name: 'from a router advertisement that a manager handles',
      address: { local: 'fd77::5054:ff:fe00:1', dynamic: true, noprefixroute: true },
      made: undefined,
    },
    { name: 'leased', address: { local: 'fd77::99', dynamic: true }, made: undefined },
    { name: 'said by iproute2', address: { local: 'fd77::99', protocol: 'kernel_ra' }, made: 'kernel_ra' },
  ];
  for (const { name, address, made } of table) {
    it(name, () => {
      const { addresses, unknown } = read({ addr_info: [{ family: 'inet6', prefixlen: 64, ...address }] });
      assert.equal(addresses[0]?.protocol, made);
      assert.deepEqual(unknown, []);
    });
  }

  it('from a MAC with zeros, which the address leaves out', () => {
    const { addresses } = read({
      address: '02:00:00:00:00:01',
      addr_info: [{ family: 'inet6', prefixlen: 64, local: 'fe80::ff:fe00:1' }],
    });
    assert.equal(addresses[0]?.protocol, 'kernel_ll');
  });
});

describe('addresses', () => {
  it('have lifetimes only where they end', () => {
    const info = { family: 'inet', local: '10.0.0.1', prefixlen: 24 };
    const { addresses } = read({
      addr_info: [
        { ...info, valid_life_time: 4294967295, preferred_life_time: 4294967295 },
        { ...info, valid_life_time: 60, preferred_life_time: 0 },
        {},
      ],
    });
    assert.equal(addresses.length, 2);
    assert.equal(addresses[0]?.validSeconds, undefined);
    assert.deepEqual([addresses[1]?.validSeconds, addresses[1]?.preferredSeconds], [60, 0]);
  });
  it('that cannot be read are reported', () => {
    assert.deepEqual(read({ addr_info: [{ family: 'mctp', local: 8 }] }).unknown, [
      '{"family":"mctp","local":8}',
    ]);
  });
});

describe('link state', () => {
  it('takes flags, and words or numbers for a group', () => {
    const { state } = read({ flags: ['NOARP', 'ALLMULTI', 'MULTICAST'], group: 7 });
    assert.deepEqual(
      {
        up: state.up,
        arp: state.arp,
        allmulti: state.allmulti,
        multicast: state.multicast,
        group: state.group,
      },
      { up: false, arp: false, allmulti: true, multicast: true, group: '7' },
    );
  });
  it('reports an XDP program', () => {
    assert.match(read({ xdp: { mode: 1 } }).unknown.join(), /XDP/);
  });
  it('refuses an interface without what every interface has', () => {
    assert.throws(() => readLink({ ifname: 'eth0' }), { code: 'GUEST_COMMAND_FAILED' });
  });
});

describe('neighbours', () => {
  const none = () => assert.fail('nothing is unknown');
  const entry = { dst: '10.0.0.2', dev: 'eth0', lladdr: '52:54:00:00:00:02', state: ['REACHABLE'] };
  it('are those of the interface that answered', () => {
    assert.equal(neighbourOf(entry, 'eth0', none)?.state, 'reachable');
    assert.equal(neighbourOf(entry, 'eth1', none), undefined);
    assert.equal(neighbourOf({ ...entry, state: ['FAILED'] }, 'eth0', none), undefined);
    assert.equal(
      neighbourOf({ dst: '10.0.0.2', dev: 'eth0', state: ['INCOMPLETE'] }, 'eth0', none),
      undefined,
    );
  });
  it('include noarp entries of people, not of the kernel', () => {
    const noarp = { ...entry, state: ['NOARP'] };
    assert.equal(neighbourOf(noarp, 'eth0', none)?.state, 'noarp');
    assert.equal(neighbourOf({ ...noarp, lladdr: '33:33:00:00:00:02' }, 'eth0', none), undefined);
  });
});

describe('multicast addresses', () => {
  it('are static as old and new releases say it', () => {
    const maddr = [
      { link: '01:00:5e:01:02:03', features: 'static' },
      { link: '01:00:5e:01:02:04', static: true },
      { link: '01:00:5e:01:02:05' },
    ];
    const found = multicastOf({ ifname: 'eth0', maddr }, () => assert.fail('nothing is unknown'));
    assert.deepEqual(
      found.map((one) => one.static),
      [true, true, false],
    );
  });
  it('that cannot be read are reported', () => {
    const unknown: string[] = [];
    multicastOf({ maddr: [{ odd: 1 }] }, (_, text) => unknown.push(text));
    assert.deepEqual(unknown, ['{"odd":1}']);
  });
});
