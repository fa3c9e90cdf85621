/** Shadows for tests of planning: a small one to vary, and an arbitrary one with hostile words. */
import fc from 'fast-check';
import type { Address, Neighbour, NetShadow, Qdisc, Route, Setting } from './model.ts';

export const MAC = '52:54:00:00:00:01';
export const PCI = '0000:01:00.0';
export const STANDBY = { name: 'eth1', mac: MAC, pciPath: '0000:02:00.0', driver: 'virtio_net' };

export const LINK: NetShadow['link'] = {
  name: 'eth0',
  ifindex: 2,
  mac: MAC,
  mtu: 1500,
  txqueuelen: 1000,
  up: true,
  promisc: false,
  allmulti: false,
  multicast: true,
  arp: true,
  group: 'default',
};

export const address = (local: string, more: Partial<Address> = {}): Address => ({
  family: local.includes(':') ? 'inet6' : 'inet',
  local,
  prefix: local.includes(':') ? 64 : 24,
  scope: 'global',
  flags: [],
  state: [],
  ...more,
});

export const route = (destination: string, args: string[], more: Partial<Route> = {}): Route => ({
  family: args.some((a) => a.includes(':')) || destination.includes(':') ? 'inet6' : 'inet',
  table: 'main',
  type: 'unicast',
  destination,
  args,
  automatic: false,
  multipath: false,
  ...more,
});

export const neighbour = (at: string, state: string, more: Partial<Neighbour> = {}): Neighbour => ({
  family: at.includes(':') ? 'inet6' : 'inet',
  address: at,
  mac: '52:54:00:00:00:99',
  state,
  proxy: false,
  router: false,
  externLearn: false,
  ...more,
});

const setting = (name: string, value: string, max: string): Setting => ({ name, value, max });

/** A bare e1000e with an address of each family and a gateway. */
export const shadow = (more: Partial<NetShadow> = {}): NetShadow => ({
  schema: 1,
  hardware: { mac: MAC, pciPath: PCI, name: 'eth0', driver: 'e1000e', pciId: '8086:10d3' },
  standIn: { kind: 'none' },
  link: LINK,
  addresses: [address('10.77.0.10', { broadcast: '10.77.0.255' }), address('fd77::10')],
  routes: [
    route('default', ['via', '10.77.0.1', 'dev', 'eth0']),
    route('10.77.0.0/24', ['dev', 'eth0', 'proto', 'kernel'], { automatic: true }),
    route('10.77.0.1', ['dev', 'eth0', 'scope', 'link']),
  ],
  rules: [],
  neighbours: [neighbour('10.77.0.1', 'reachable'), neighbour('10.77.0.5', 'stale')],
  qdiscs: [],
  multicast: [],
  driver: {
    features: [
      { name: 'tx-tcp-segmentation', on: false, fixed: false },
      { name: 'rx-vlan-offload', on: true, fixed: false },
      { name: 'receive-hashing', on: true, fixed: false },
      { name: 'highdma', on: true, fixed: true },
    ],
    rings: [setting('rx', '4096', '4096'), setting('tx', '256', '4096')],
    channels: [],
    coalesce: [{ name: 'rx-usecs', value: '3' }],
    pause: [{ name: 'autoneg', value: 'on' }],
    maxMtu: 9212,
  },
  sysctls: [
    { path: 'ipv4/conf/{dev}/rp_filter', value: '2' },
    { path: 'ipv6/conf/{dev}/accept_dad', value: '1' },
    { path: 'ipv6/conf/{dev}/disable_ipv6', value: '0' },
    { path: 'ipv6/neigh/{dev}/gc_stale_time', value: '60' },
  ],
  unknown: [],
  ...more,
});

/** The same below a bond `eth0`. */
export const bonded = (members: string[], more: Partial<NetShadow> = {}): NetShadow =>
  shadow({
    hardware: { mac: MAC, pciPath: PCI, name: 'eth0-d', driver: 'e1000e', pciId: '8086:10d3' },
    standIn: { kind: 'bond', name: 'eth0', members, active: 'eth0-d', options: { mode: 'active-backup' } },
    lower: { ...LINK, name: 'eth0-d', ifindex: 3, txqueuelen: 500 },
    ...more,
  });

/** Any text that can be a word of an argument vector. */
const word = fc.oneof(
  fc.constantFrom(
    '$(reboot)',
    "'; reboot; '",
    '`x`',
    '"',
    '\\',
    '*',
    '#',
    '-n',
    '',
    ' ',
    'a\nb',
    '~',
    '&',
    '%s',
    'é№',
    '\t',
    '!',
  ),
  fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => !text.includes('\0')),
);
/** A name of an interface: 1 to 15 bytes without blank, slash or colon. */
const name = fc
  .string({ unit: 'binary-ascii', minLength: 1, maxLength: 15 })
  .map((text) => text.replace(/[\s\0/:]/g, '_'))
  .filter((text) => text !== '.' && text !== '..' && text !== 'eth1');

/** Shadows whose free texts are as bad as they come. */
export const hostileShadow: fc.Arbitrary<NetShadow> = fc
  .record({
    dev: name,
    alias: word,
    group: word,
    words: fc.array(word, { maxLength: 4 }),
    mac: fc.boolean(),
    values: fc.array(
      word.map((text) => text.replaceAll('\n', ' ')),
      { maxLength: 3 },
    ),
    up: fc.boolean(),
    settings: fc.array(fc.nat(9), { maxLength: 3 }),
  })
  .map(({ dev, alias, group, words, mac, values, up, settings }) => {
    const qdisc: Qdisc = { kind: 'fq_codel', handle: '1:', parent: 'root', args: words };
    return shadow({
      hardware: { mac: MAC, pciPath: PCI, name: dev, driver: 'e1000e', pciId: '8086:10d3' },
      link: {
        ...LINK,
        ...{ name: dev, alias, group, up, altnames: words },
        xdp: [{ mode: 'generic', id: 9, pin: group }],
      },
      addresses: [address('10.77.0.10', { label: alias }), address('fd77::10')],
      routes: [
        route('default', ['via', '10.77.0.1', 'dev', dev, ...words]),
        route('10.9.0.0/16', ['dev', dev]),
      ],
      rules: [
        { family: 'inet', priority: 7, args: ['iif', dev, ...words] },
        { family: 'inet6', priority: 7, args: ['from', 'all'] },
      ],
      neighbours: mac ? [neighbour('10.77.0.1', 'reachable'), neighbour('10.77.0.2', 'permanent')] : [],
      qdiscs: [qdisc],
      classes: [{ kind: 'htb', id: '1:1', parent: '1:', args: words }],
      filters: [
        {
          ...{ place: 'ingress', protocol: 'ip', pref: 1, chain: 0 },
          kind: 'u32',
          handle: '::800',
          args: words,
        },
        {
          ...{ place: '1:', protocol: 'all', pref: 2, chain: 5, kind: 'bpf', handle: '0x1', args: words },
          program: { id: 7, name: alias, pin: `/sys/fs/bpf/${alias}` },
        },
      ],
      port: {
        ...{ master: alias, kind: 'bridge', defaultVlan: 1, vlans: [], tunnels: [], forwards: [] },
        settings: [{ name: 'backup_port', value: group }],
        groups: [{ group, source: alias }],
      },
      multicast: [{ family: 'link', address: '33:33:00:00:00:77', users: 1, static: true }],
      sysctls: values.map((value, at) => ({ path: `ipv4/conf/{dev}/key${at}`, value })),
      driver: {
        features: [],
        rings: settings.map((value, at) => ({ name: `ring${at}`, value: String(value) })),
        channels: [],
        coalesce: [],
        pause: [],
      },
    });
  });
