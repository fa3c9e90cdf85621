/** Prints a state as iproute2, ethtool and the kernel do: the opposite of what parses a capture. For tests. */
import fc from 'fast-check';
import type { Address, DriverState, LinkState, Multicast, Neighbour, Route, Rule, Sysctl } from './model.ts';

/** The part of a shadow that has one printed form. */
export interface Printed {
  link: LinkState;
  addresses: Address[];
  routes: Route[];
  rules: Rule[];
  neighbours: Neighbour[];
  multicast: Multicast[];
  sysctls: Sysctl[];
  driver: Pick<DriverState, 'features' | 'rings' | 'channels' | 'coalesce' | 'pause'>;
}

const FOREVER = 4294967295;
/** Keys without a value are not printed. */
const json = (value: unknown): string => JSON.stringify(value);

function linkJson({ link, addresses }: Printed): unknown {
  const flags = [
    ...(link.up ? ['UP'] : []),
    ...(link.promisc ? ['PROMISC'] : []),
    ...(link.allmulti ? ['ALLMULTI'] : []),
    ...(link.multicast ? ['MULTICAST'] : []),
    ...(link.arp ? [] : ['NOARP']),
  ];
  return {
    ...{ ifindex: link.ifindex, ifname: link.name, flags, mtu: link.mtu, txqlen: link.txqueuelen },
    ...{ group: link.group, address: link.mac, ifalias: link.alias, altnames: link.altnames },
    addr_info: addresses.map((one) => ({
      ...{ family: one.family, local: one.local, address: one.peer, prefixlen: one.prefix },
      ...{ broadcast: one.broadcast, scope: one.scope, label: one.label, metric: one.metric },
      ...Object.fromEntries([...one.flags, ...one.state].map((flag) => [flag, true])),
      protocol: one.protocol,
      valid_life_time: one.validSeconds ?? FOREVER,
      preferred_life_time: one.preferredSeconds ?? FOREVER,
    })),
  };
}

const routeLines = (routes: readonly Route[], family: Route['family']): string[] =>
  routes
    .filter((one) => one.family === family)
    .map(({ type, destination, args, table }) =>
      [type, destination, ...args, ...(args.includes('table') ? [] : ['table', table]), ''].join(' '),
    );

const ruleLines = (rules: readonly Rule[], family: Rule['family']): string[] =>
  rules.filter((one) => one.family === family).map(({ priority, args }) => `${priority}:\t${args.join(' ')}`);

/** `rx-mini` is printed as `RX Mini`. */
const title = (name: string): string =>
  name
    .split('-')
    .map((each) =>
      /^[rt]x$/.test(each) ? each.toUpperCase() : each.replace(/^./, (first) => first.toUpperCase()),
    )
    .join(' ');

const limits = (settings: DriverState['rings'], name: string): string[] => [
  `${name} for dev:`,
  'Pre-set maximums:',
  ...settings.map((one) => `${title(one.name)}:\t\t${one.max}`),
  'Current hardware settings:',
  ...settings.map((one) => `${title(one.name)}:\t\t${one.value}`),
  '',
];

/** A capture of the device `driver` with PCI id 8086:10d3. */
export function printCapture(state: Printed): string {
  const { link, driver } = state;
  const section = (name: string, lines: readonly string[]): string[] => [`@@ ${name}`, ...lines, '@@. 0'];
  const neighbours = state.neighbours.map((one) => ({
    ...{ dst: one.address, dev: link.name, lladdr: one.mac },
    ...(one.proxy ? { proxy: null } : {}),
    ...(one.router ? { router: null } : {}),
    ...(one.externLearn ? { extern_learn: null } : {}),
    state: [one.state.toUpperCase()],
  }));
  const maddr = state.multicast.map((one) => ({
    ...(one.family === 'link' ? { link: one.address } : { family: one.family, address: one.address }),
    users: one.users,
    ...(one.static ? { static: true } : {}),
  }));
  const pause = { autoneg: 'Autonegotiate', rx: 'RX', tx: 'TX' } as const;
  return [
    ...section('capture', ['version 1', `device ${link.name}`, `carrying ${link.name}`, 'found-by mac']),
    ...section('sysfs', [
      `${link.name} driver e1000e`,
      `${link.name} pci/vendor 0x8086`,
      `${link.name} pci/device 0x10d3`,
    ]),
    ...section(
      'sysctl',
      state.sysctls.map(
        ({ path, value }) => `/proc/sys/net/${path.replace('{dev}', () => link.name)}:${value}`,
      ),
    ),
    ...section('ip-json', [
      json([linkJson(state)]),
      json(neighbours),
      json([{ ifindex: link.ifindex, ifname: link.name, maddr }]),
    ]),
    ...section('ip-4', [...routeLines(state.routes, 'inet'), ...ruleLines(state.rules, 'inet')]),
    ...section('ip-6', [...routeLines(state.routes, 'inet6'), ...ruleLines(state.rules, 'inet6')]),
    ...section('qdisc', ['[]']),
    ...section('ethtool-k', [
      'Features for dev:',
      ...driver.features.map(
        ({ name, on, fixed }) => `${name}: ${on ? 'on' : 'off'}${fixed ? ' [fixed]' : ''}`,
      ),
    ]),
    ...section('ethtool-g', limits(driver.rings, 'Ring parameters')),
    ...section('ethtool-l', limits(driver.channels, 'Channel parameters')),
    ...section('ethtool-c', [
      'Coalesce parameters for dev:',
      ...driver.coalesce.map(({ name, value }) => `${name}: ${value}`),
    ]),
    ...section('ethtool-a', [
      'Pause parameters for dev:',
      ...driver.pause.map(({ name, value }) =>
        name === 'autoneg' || name === 'rx' || name === 'tx' ? `${pause[name]}:\t\t${value}` : name,
      ),
    ]),
    ...section('end', []),
    '',
  ].join('\n');
}

/** Any legal name of an interface: up to 15 bytes, no white space, `/` or `:`; also words of ip's own language. */
export const interfaceName: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    'dev',
    'via',
    'metric',
    'nhid',
    'encap',
    '..x',
    '%s',
    'nexthop',
    'lookup',
    'iif',
    'lock',
    '@@',
    '-d',
  ),
  fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 15 })
    .map((text) => text.replace(/[\s\p{Cs}/:]/gu, ''))
    .filter((text) => text !== '' && text !== '.' && text !== '..' && Buffer.byteLength(text) <= 15),
);

const octet = fc.nat(255);
const inet = fc.tuple(octet, octet, octet).map((parts) => `10.${parts.join('.')}`);
const inet6 = fc.integer({ min: 1, max: 0xffff }).map((part) => `fd77::${part.toString(16)}`);
const mac = fc.tuple(octet, octet, octet).map((parts) => {
  const bytes = parts.map((byte) => byte.toString(16).padStart(2, '0'));
  return `52:54:01:${bytes.join(':')}`;
});
const ip = fc.oneof(inet, inet6);
const familyOf = (text: string): 'inet' | 'inet6' => (text.includes(':') ? 'inet6' : 'inet');
const maybe = <T>(key: string, value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.option(value).map((found): Record<string, T> => (found === null ? {} : { [key]: found }));

const address: fc.Arbitrary<Address> = fc
  .tuple(
    ip,
    fc.subarray(['noprefixroute', 'nodad', 'home']),
    fc.subarray(['secondary', 'deprecated']),
    maybe('metric', fc.integer({ min: 1, max: 9999 })),
    maybe('label', fc.string({ maxLength: 15 })),
    maybe('validSeconds', fc.nat(99_999)),
    maybe('preferredSeconds', fc.nat(99_999)),
    maybe('protocol', fc.constantFrom('kernel_ll', '77')),
    fc.constantFrom('global', 'link', '99'),
  )
  .map(([local, flags, state, metric, label, valid, preferred, protocol, scope]): Address => {
    const own = { family: familyOf(local), local, prefix: familyOf(local) === 'inet' ? 24 : 96, scope };
    const order = ['home', 'nodad', 'noprefixroute'];
    const sorted = order.filter((flag) => flags.some((each) => each === flag));
    return { ...own, ...metric, ...label, ...valid, ...preferred, ...protocol, flags: sorted, state };
  });

const word = (name: string, value: fc.Arbitrary<unknown>): fc.Arbitrary<string[]> =>
  fc.option(value).map((found) => (found === null ? [] : [name, String(found)]));

const routeOf = (dev: string): fc.Arbitrary<Route> =>
  fc
    .tuple(
      fc.constantFrom('inet', 'inet6'),
      octet,
      fc.option(fc.constant('via')),
      word('metric', fc.integer({ min: 1, max: 99_999 })),
      word('mtu', fc.constantFrom('1300', 'lock 1200')),
      word('proto', fc.constantFrom('static', 'bird', '99')),
      fc.constantFrom('main', '100', 'vpn'),
    )
    .map(([family, n, via, metric, mtu, proto, table]): Route => {
      const gateway = family === 'inet' ? `10.0.0.${n}` : `fd77::${n.toString(16)}`;
      const words = [...(via === null ? [] : ['via', gateway]), 'dev', dev];
      const own = table === 'main' ? [] : ['table', table];
      return {
        ...{ family, table, type: 'unicast', automatic: false, multipath: false },
        destination: family === 'inet' ? `10.${n}.0.0/16` : `fd90:${n.toString(16)}::/64`,
        args: [...words, ...own, ...proto, ...metric, ...mtu.join(' ').split(' ').filter(Boolean)],
      };
    });

const ruleOf = (dev: string): fc.Arbitrary<Rule> =>
  fc
    .tuple(
      fc.constantFrom('inet', 'inet6'),
      fc.nat(32_000),
      fc.constantFrom('iif', 'oif'),
      word('fwmark', fc.constant('0x1/0xff')),
    )
    .map(
      ([family, priority, side, mark]): Rule => ({
        family,
        priority,
        args: ['from', 'all', ...mark, side, dev, 'lookup', 'main'],
      }),
    );

const neighbour: fc.Arbitrary<Neighbour> = fc
  .tuple(ip, mac, fc.constantFrom('permanent', 'reachable', 'stale', 'noarp'), fc.boolean(), fc.boolean())
  .map(
    ([at, lladdr, state, router, externLearn]): Neighbour => ({
      ...{ family: familyOf(at), address: at, mac: lladdr, state, proxy: false },
      ...{ router, externLearn },
    }),
  );

const multicast: fc.Arbitrary<Multicast> = fc.oneof(
  fc
    .tuple(mac, fc.boolean(), fc.integer({ min: 1, max: 9 }))
    .map(([at, isStatic, users]): Multicast => ({ family: 'link', address: at, users, static: isStatic })),
  ip.map((at): Multicast => ({ family: familyOf(at), address: at, users: 2, static: false })),
);

const numbers = (names: readonly string[]) =>
  fc
    .subarray([...names])
    .chain((chosen) =>
      fc.tuple(
        ...chosen.map((name) =>
          fc.nat(4096).map((value) => ({ name, value: String(value), max: String(value + 1) })),
        ),
      ),
    );

/** States with as hostile names and texts as there can be. */
export const printedState: fc.Arbitrary<Printed> = interfaceName.chain((name) =>
  fc.record({
    link: fc
      .tuple(
        fc.record({
          ...{ mtu: fc.integer({ min: 68, max: 9000 }), txqueuelen: fc.nat(9999), ifindex: fc.nat(999) },
          ...{ up: fc.boolean(), promisc: fc.boolean(), allmulti: fc.boolean() },
          ...{ multicast: fc.boolean(), arp: fc.boolean(), group: fc.string({ maxLength: 8 }) },
        }),
        maybe('alias', fc.string({ unit: 'binary', maxLength: 40 })),
        maybe('altnames', fc.array(interfaceName, { minLength: 1, maxLength: 3 })),
      )
      .map(
        ([fields, alias, altnames]): LinkState => ({
          ...{ name, mac: '52:54:00:00:00:01' },
          ...fields,
          ...alias,
          ...altnames,
        }),
      ),
    addresses: fc.array(address, { maxLength: 4 }),
    routes: fc
      .array(routeOf(name), { maxLength: 5 })
      .map((all) => all.toSorted((a, b) => a.family.localeCompare(b.family))),
    rules: fc
      .array(ruleOf(name), { maxLength: 3 })
      .map((all) => all.toSorted((a, b) => a.family.localeCompare(b.family))),
    neighbours: fc.array(neighbour, { maxLength: 3 }),
    multicast: fc.array(multicast, { maxLength: 3 }),
    sysctls: fc.array(
      fc
        .tuple(
          fc.constantFrom('ipv4/conf', 'ipv6/conf', 'ipv4/neigh'),
          fc.stringMatching(/^zz_[a-z_]{1,9}$/),
          fc.string(),
        )
        .map(
          ([where, key, value]): Sysctl => ({
            path: `${where}/{dev}/${key}`,
            value: value.replaceAll('\n', ' '),
          }),
        ),
      { maxLength: 3 },
    ),
    driver: fc.record({
      features: fc
        .subarray(['rx-checksumming', 'tx-gso-robust', 'rx-vlan-offload', 'zz-new'])
        .chain((names) =>
          fc.tuple(
            ...names.map((one) =>
              fc.record({ name: fc.constant(one), on: fc.boolean(), fixed: fc.boolean() }),
            ),
          ),
        ),
      rings: numbers(['rx', 'rx-mini', 'tx']),
      channels: numbers(['rx', 'tx', 'combined', 'other']),
      coalesce: numbers(['rx-usecs', 'tx-frames', 'stats-block-usecs']).map((all) =>
        all.map(({ name: one, value }) => ({ name: one, value })),
      ),
      pause: fc.subarray([
        { name: 'autoneg', value: 'off' },
        { name: 'rx', value: 'on' },
        { name: 'tx', value: 'off' },
      ]),
    }),
  }),
);
