/** What the lab's guest configures on its NIC at boot: plain state, and enough odd state to see that none is forgotten. */
import { shellQuote } from '../base/shell-quote.ts';
import { segment } from './network/names.ts';

export const GUEST_ADDRESS = '10.77.0.10';
export const GUEST_ADDRESS6 = 'fd77::10';
/** The interface's name in the guest: chosen by the guest's administrator, so no kernel would choose it again. */
export const GUEST_INTERFACE = 'lan0';

/** What one NIC of the guest is configured with. */
export interface GuestNic {
  interface: string;
  /** Without the length of the prefix, which is 24 and 64. */
  address: string;
  address6: string;
  /** The peer outside. */
  gateway: string;
  gateway6: string;
  /** A routing table of its own. */
  table: number;
}

/**
 * The guest's NIC number `nic` on the lab's network number `network`. The first has the default routes; the others have
 * theirs in a table of their own, for what comes from their addresses.
 */
export function guestNic(nic: number, network: number): GuestNic {
  const { subnet, address: gateway, address6: gateway6 } = segment(network);
  const own = 10 * (nic + 1);
  return {
    interface: `lan${nic}`,
    address: `10.${subnet}.0.${own}`,
    address6: `fd${subnet}::${own}`,
    gateway,
    gateway6,
    table: 77 + nic,
  };
}

/** Finds the interface that carries addresses: the failover master where there is one, else the first by PCI path. */
const FIND = `
find_dev() {
  for d in /sys/class/net/*; do
    { read -r m <"$d/address"; } 2>/dev/null || continue
    [ "$m" = "$mac" ] || continue
    for l in "$d"/lower_*; do [ -e "$l" ] && [ ! -e "$d/bonding" ] && { dev=\${d##*/}; return 0; }; done
  done
  for a in /sys/bus/pci/devices/*/net/*/address /sys/bus/pci/devices/*/virtio*/net/*/address; do
    [ -e "$a" ] || continue
    read -r m <"$a"
    [ "$m" = "$mac" ] || continue
    p=\${a#/sys/bus/pci/devices/}
    p=\${p%%/*}
    # by PCI path: the standby has the same MAC in a later slot
    if [ -z "$best" ] || [ "$(printf '%s\\n%s\\n' "$p" "$best" | sort | head -n 1)" = "$p" ]; then
      best=$p
      dev=\${a%/address}
      dev=\${dev##*/}
    fi
  done
  [ -n "$dev" ]
}
`;

export interface GuestSetup {
  mac: string;
  /** Which NIC of the guest it is, from 0, and the number of its network. */
  nic?: number;
  network?: number;
  /** Its name, where it is not that of `guestNic`. */
  interface?: string;
  /** Only the address, for measurements where other state would say nothing. */
  plain?: boolean;
  /** More lines of shell, run last; `$dev` is the interface. */
  extra?: string;
}

/** Finds the interface: `$dev`, and `$ip`. */
const opening = (mac: string): string[] => [
  'set -u',
  `mac=${shellQuote(mac)}`,
  "dev='' best=''",
  FIND,
  'find_dev || exit 1',
  'ip=/usr/sbin/ip; [ -x "$ip" ] || ip=/sbin/ip; [ -x "$ip" ] || ip=ip',
];

/** Gives it a name, quoted already. */
const rename = (name: string): string[] => [
  // the kernel's failover holds its ports up; only the name of a device that is down can be changed
  `$ip link set dev "$dev" down 2>/dev/null; $ip link set dev "$dev" name ${name} && dev=${name}`,
];

/** The setup script for one NIC. */
export function guestSetup(setup: GuestSetup): string {
  const { mac, nic = 0, network = 0, plain = false, extra = '' } = setup;
  const { address, address6, gateway, gateway6, table, ...its } = guestNic(nic, network);
  const name = shellQuote(setup.interface ?? its.interface);
  const nicTable = nic === 0 ? '' : ` table ${table}`;
  const alias = `${address.slice(0, address.lastIndexOf('.'))}.${10 * (nic + 1) + 1}`;
  const prefix = address.slice(0, address.lastIndexOf('.'));
  const lines = [
    ...opening(mac),
    ...rename(name),
    '$ip link set dev lo up',
    '$ip link set dev "$dev" up',
    `$ip address add ${address}/24 brd + dev "$dev"`,
    `$ip -6 address add ${address6}/64 dev "$dev" nodad`,
    `$ip route add default via ${gateway} dev "$dev"${nicTable}`,
    `$ip -6 route add default via ${gateway6} dev "$dev" metric 512${nicTable}`,
    ...(nic === 0
      ? []
      : [
          `$ip route add ${prefix}.0/24 dev "$dev" table ${table}`,
          `$ip rule add from ${address} lookup ${table} priority ${900 + table}`,
          `$ip -6 rule add from ${address6} lookup ${table} priority ${900 + table}`,
        ]),
  ];
  const odd = [
    `$ip link set dev "$dev" alias "front door; it's 'quoted'" txqueuelen 500`,
    `$ip address add ${alias}/24 dev "$dev" label "$dev:1"`,
    `$ip route add 192.0.2.${32 * nic}/${nic === 0 ? 24 : 27} via ${gateway} dev "$dev" metric 50 mtu 1400`,
    ...(nic === 0 ? [`$ip route add default via ${gateway} dev "$dev" table ${table}`] : []),
    `$ip rule add from ${alias} lookup ${table} priority ${1000 + table}`,
    `$ip neighbour add ${prefix}.200 lladdr 02:00:00:00:02:00 dev "$dev" nud permanent`,
    'echo 1 > "/proc/sys/net/ipv4/conf/$dev/arp_notify"',
    'echo 2 > "/proc/sys/net/ipv4/conf/$dev/rp_filter"',
    'echo 0 > "/proc/sys/net/ipv6/conf/$dev/accept_ra"',
    '/usr/sbin/tc qdisc replace dev "$dev" root fq_codel limit 5000 target 6ms 2>/dev/null || :',
  ];
  return `${[...lines, ...(plain ? [] : odd), extra].join('\n')}\n`;
}

/**
 * The setup script for several NICs: each in a shell of its own, for none to disturb another. All get out of the way
 * first, as one may be given the name that another was born with.
 */
export function guestSetups(setups: readonly GuestSetup[]): string {
  if (setups.length === 1) return setups.map(guestSetup).join('');
  const away = setups.map(({ mac }, n) => [...opening(mac), ...rename(`born${n}`)].join('\n'));
  const each = setups.map(guestSetup);
  const all = [...away, ...each].map((text) => `(\n${text}\n) || failed=1`);
  return `${all.join('\n')}\n[ -z "\${failed-}" ]\n`;
}
