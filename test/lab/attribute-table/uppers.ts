/** Cases of what stands on the interface, and of nexthop objects. */
import type { AttributeCase } from './case.ts';

/** A kernel that is asked for a nexthop object on an interface without a link refuses. */
const LINKED =
  'n=0; until [ "$(cat "/sys/class/net/$dev/carrier")" = 1 ] || [ $n = 100 ]; do n=$((n + 1)); sleep 0.1; done';

export const UPPER_CASES: readonly AttributeCase[] = [
  {
    key: 'upper.t10/kind',
    set: 'ip link add link "$dev" name t10 type vlan id 10 egress-qos-map 1:2 && ip link set dev t10 up',
    read: "ip -d -o link show dev t10 2>/dev/null | sed -e 's/.*vlan protocol/vlan protocol/' -e 's/addrgenmode.*//'",
  },
  {
    key: 'upper.t10/link.mtu',
    set: 'ip link set dev t10 mtu 1290',
    read: 'cat /sys/class/net/t10/mtu 2>/dev/null',
  },
  {
    key: 'upper.t10/address.inet.10.91.0.1/24',
    set: 'ip address add 10.91.0.1/24 dev t10',
    read: "ip -4 -br address show dev t10 2>/dev/null | grep -o '10.91.0.1/24'",
  },
  {
    key: 'upper.t42/forwarding',
    set: 'ip link add t42 type vxlan id 42 dev "$dev" remote 10.77.0.2 dstport 4789\nbridge fdb append 02:00:00:00:00:42 dev t42 dst 10.77.0.21',
    read: 'bridge fdb show dev t42 2>/dev/null | grep 02:00:00:00:00:42',
  },
];

/** To be set last: what resets the link takes it away. */
export const NEXTHOP_CASES: readonly AttributeCase[] = [
  {
    key: 'nexthop.77',
    set: `${LINKED}\nip nexthop add id 77 via 10.77.0.177 dev "$dev"`,
    read: "ip nexthop show id 77 2>/dev/null | sed 's/ linkdown//'",
  },
];
