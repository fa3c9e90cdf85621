/** Cases of the interface itself. */
import { GUEST_INTERFACE } from '../../../src/lab/guest-setup.ts';
import { type AttributeCase, fileCase, readFile } from './case.ts';

/** A word of `ip -d link` and what follows it. */
const linkWord = (pattern: string): string =>
  `ip -d link show dev "$dev" | grep -o -e '${pattern}' | head -n 1`;

/** A flag of the user's own, from the hexadecimal flags in sysfs. */
const flag = (bit: number): string =>
  `read -r value <"/sys/class/net/$dev/flags"; echo $(((value & ${bit}) != 0))`;

export const LINK_CASES: readonly AttributeCase[] = [
  {
    key: 'link.name',
    set: '',
    value: new RegExp(`^${GUEST_INTERFACE}$`),
    read: `ip -o link show dev "$dev" | cut -d: -f2 | tr -d ' '`,
  },
  { key: 'link.up', set: '', value: /^1$/, read: flag(0x1) },
  fileCase('link.txqueuelen', '/sys/class/net/$dev/tx_queue_len', '600'),
  {
    key: 'link.mtu',
    set: 'ip link set dev "$dev" mtu 1400',
    read: readFile('/sys/class/net/$dev/mtu'),
  },
  {
    key: 'link.alias',
    set: `ip link set dev "$dev" alias 'a "b" %s $(id) '"it's"' \\ ümläut'`,
    read: readFile('/sys/class/net/$dev/ifalias'),
  },
  { key: 'link.promisc', set: 'ip link set dev "$dev" promisc on', read: flag(0x100) },
  { key: 'link.allmulti', set: 'ip link set dev "$dev" allmulticast on', read: flag(0x200) },
  { key: 'link.group', set: 'ip link set dev "$dev" group 42', read: linkWord('group [^ ]*') },
  {
    key: 'link.altnames',
    set: 'ip link property add dev "$dev" altname uplink-with-a-long-name altname second',
    read: `ip link show dev "$dev" | grep altname | sort`,
  },
  {
    key: 'link.ifindex',
    set: '',
    value: /^\d+$/,
    read: readFile('/sys/class/net/$dev/ifindex'),
    expect: { fate: 'lost', why: /^the interface was made anew$/ },
  },
];

/** What keeps other cases from being set at the same time. */
export const LINK_ALONE: readonly AttributeCase[] = [
  {
    key: 'link.mac',
    set: 'ip link set dev "$dev" address 52:54:00:aa:bb:cc',
    read: readFile('/sys/class/net/$dev/address'),
  },
  { key: 'link.multicast', set: 'ip link set dev "$dev" multicast off', read: flag(0x1000) },
  { key: 'link.arp', set: 'ip link set dev "$dev" arp off', read: flag(0x80) },
  {
    key: 'link.master',
    set: 'ip link add blue type vrf table 1042 && ip link set blue up && ip link set dev "$dev" master blue',
    read: linkWord('master [^ ]*'),
  },
];

/** What must follow the sysctls that allow it. */
export const TOKEN: AttributeCase = {
  key: 'link.ipv6Token',
  set: 'ip token set ::77 dev "$dev"',
  read: 'ip token get dev "$dev"',
};

export const ADDRESS_MODE: AttributeCase = {
  key: 'link.addrGenMode',
  set: 'echo 0 >"/proc/sys/net/ipv6/conf/$dev/addr_gen_mode"; ip link set dev "$dev" addrgenmode none',
  read: linkWord('addrgenmode [^ ]*'),
};

const bond = (name: string, value: string): AttributeCase =>
  fileCase(`bond.${name}`, `/sys/class/net/$dev/bonding/${name}`, value);

/** Of a shadow interface that is there already: it stays as it is, its lower device is made as the last one was. */
export const SHADOW_INTERFACE_CASES: readonly AttributeCase[] = [
  bond('miimon', '40'),
  bond('updelay', '80'),
  bond('downdelay', '80'),
  bond('num_grat_arp', '2'),
  bond('resend_igmp', '3'),
  bond('peer_notif_delay', '200'),
  fileCase('lower.txqueuelen', '/sys/class/net/$dev-d/tx_queue_len', '700'),
  {
    key: 'lower.alias',
    set: 'ip link set dev "$dev-d" alias "the one below"',
    read: readFile('/sys/class/net/$dev-d/ifalias'),
  },
];
