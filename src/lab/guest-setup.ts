/** What the lab's guest configures on its NIC at boot: plain state, and enough odd state to see that none is forgotten. */
import { shellQuote } from '../base/shell-quote.ts';

export const GUEST_ADDRESS = '10.77.0.10';
export const GUEST_ADDRESS6 = 'fd77::10';
/** The interface's name in the guest: chosen by the guest's administrator, so no kernel would choose it again. */
export const GUEST_INTERFACE = 'lan0';

/** Finds the interface that carries addresses: the failover master where there is one, else the first by PCI path. */
const FIND = `
find_dev() {
  for d in /sys/class/net/*; do
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
  /** Only the address, for measurements where other state would say nothing. */
  plain?: boolean;
  /** More lines of shell, run last; `$dev` is the interface. */
  extra?: string;
}

/** The setup script for one NIC. */
export function guestSetup({ mac, plain = false, extra = '' }: GuestSetup): string {
  const lines = [
    'set -u',
    `mac=${shellQuote(mac)}`,
    "dev='' best=''",
    FIND,
    'find_dev || exit 1',
    'ip=/usr/sbin/ip; [ -x "$ip" ] || ip=/sbin/ip; [ -x "$ip" ] || ip=ip',
    // the kernel's failover holds its ports up; only the name of a device that is down can be changed
    `$ip link set dev "$dev" down 2>/dev/null; $ip link set dev "$dev" name ${GUEST_INTERFACE} && dev=${GUEST_INTERFACE}`,
    '$ip link set dev lo up',
    '$ip link set dev "$dev" up',
    `$ip address add ${GUEST_ADDRESS}/24 brd + dev "$dev"`,
    `$ip -6 address add ${GUEST_ADDRESS6}/64 dev "$dev" nodad`,
    '$ip route add default via 10.77.0.1 dev "$dev"',
    '$ip -6 route add default via fd77::1 dev "$dev" metric 512',
  ];
  const odd = [
    `$ip link set dev "$dev" alias "front door; it's 'quoted'" txqueuelen 500`,
    '$ip address add 10.77.0.11/24 dev "$dev" label "$dev:1"',
    '$ip route add 192.0.2.0/24 via 10.77.0.1 dev "$dev" metric 50 mtu 1400',
    '$ip route add default via 10.77.0.1 dev "$dev" table 77',
    '$ip rule add from 10.77.0.11 lookup 77 priority 1077',
    '$ip neighbour add 10.77.0.200 lladdr 02:00:00:00:02:00 dev "$dev" nud permanent',
    'echo 1 > "/proc/sys/net/ipv4/conf/$dev/arp_notify"',
    'echo 2 > "/proc/sys/net/ipv4/conf/$dev/rp_filter"',
    'echo 0 > "/proc/sys/net/ipv6/conf/$dev/accept_ra"',
    '/usr/sbin/tc qdisc replace dev "$dev" root fq_codel limit 5000 target 6ms 2>/dev/null || :',
  ];
  return `${[...lines, ...(plain ? [] : odd), extra].join('\n')}\n`;
}
