/** Cases of a port of a bridge, and of a port of a shadow interface. */
import type { AttributeCase } from './case.ts';

/** A word of what `ip -d link` says of the port, and what follows it. */
const portWord = (name: string, dev = '$dev'): string =>
  `ip -d link show dev "${dev}" | grep -o -e ' ${name} [^ ]*' | head -n 1`;

const setting = (name: string, value: string, printed = name): AttributeCase => ({
  key: `port.${name}`,
  set: `ip link set dev "$dev" type bridge_slave ${name} ${value}`,
  read: portWord(printed),
});

const vlan = (key: string, vid: string, set: string): AttributeCase => ({
  key,
  set,
  read: `bridge -j -d vlan show dev "$dev" | grep -o -e '{"vlan":${vid}[,}][^}]*}\\{0,1\\}'`,
});

const entry = (key: string, mac: string, rest: string): AttributeCase => ({
  key,
  set: `bridge fdb add ${mac} dev "$dev" ${rest}`,
  read: `bridge fdb show brport "$dev" | grep -e '^${mac}' | sort`,
});

export const PORT_CASES: readonly AttributeCase[] = [
  {
    key: 'link.master',
    set: 'ip link add br7 type bridge vlan_filtering 1 mcast_snooping 1 forward_delay 0 && ip link set br7 up && ip link add spare type dummy && ip link set spare master br7 && ip link set dev "$dev" master br7',
    read: `ip -d link show dev "$dev" | grep -o -e 'master [^ ]*'`,
  },
  setting('cost', '7'),
  setting('priority', '9'),
  setting('hairpin', 'on'),
  setting('guard', 'on'),
  setting('root_block', 'on'),
  setting('fastleave', 'on'),
  setting('learning', 'off'),
  setting('flood', 'off'),
  setting('mcast_flood', 'off'),
  setting('bcast_flood', 'off'),
  setting('mcast_router', '2', 'm[a-z]*cast_router'),
  setting('mcast_to_unicast', 'on'),
  setting('proxy_arp', 'on'),
  setting('proxy_arp_wifi', 'on'),
  setting('neigh_suppress', 'on'),
  setting('group_fwd_mask', '0x4000'),
  setting('vlan_tunnel', 'on'),
  setting('isolated', 'on'),
  setting('locked', 'on'),
  setting('backup_port', 'spare'),
  vlan(
    'port.vlan.10',
    '10',
    'bridge vlan del dev "$dev" vid 1; bridge vlan add dev "$dev" vid 10 pvid untagged',
  ),
  vlan('port.vlan.20-25', '20', 'bridge vlan add dev "$dev" vid 20-25'),
  vlan(
    'port.vlan.30',
    '30',
    'bridge vlan add dev "$dev" vid 30 && bridge vlan set dev "$dev" vid 30 state blocking',
  ),
  {
    key: 'port.tunnel.30',
    set: 'bridge vlan add dev "$dev" vid 30 tunnel_info id 1000',
    read: 'bridge vlan tunnelshow dev "$dev" | grep -o -e "30 *1000"',
  },
  entry('port.fdb.02:00:00:00:00:77,vlan=10', '02:00:00:00:00:77', 'master static vlan 10 sticky'),
  entry('port.fdb.02:00:00:00:00:78,vlan=20', '02:00:00:00:00:78', 'master permanent vlan 20'),
  entry('port.fdb.02:00:00:00:00:79,self', '02:00:00:00:00:79', 'self permanent'),
  {
    key: 'port.mdb.239.1.1.2,src=10.0.0.1,vid=10',
    set: 'bridge mdb add dev br7 port "$dev" grp 239.1.1.2 src 10.0.0.1 permanent vid 10',
    read: `bridge mdb show dev br7 | grep -o -e 'grp 239.1.1.2 .*permanent.*vid 10'`,
  },
];

/** The direct device below a shadow interface. */
export const BOND_PORT_CASES: readonly AttributeCase[] = [
  {
    key: 'bond.port.queue_id',
    set: 'ip link set dev "$dev-d" type bond_slave queue_id 3',
    read: portWord('queue_id', '$dev-d'),
  },
  {
    key: 'bond.port.prio',
    set: 'ip link set dev "$dev-d" type bond_slave prio 7',
    read: portWord('prio', '$dev-d'),
  },
];

/** A port of a bond of the user's own: the other ports carry the traffic while the device is away. */
export const USER_BOND_CASES: readonly AttributeCase[] = [
  {
    key: 'link.master',
    set: 'ip link add lag0 type bond mode 802.3ad miimon 100 && ip link set dev "$dev" down && ip link set dev "$dev" master lag0 && ip link set lag0 up',
    read: `ip -d link show dev "$dev" | grep -o -e 'master [^ ]*'`,
  },
  {
    key: 'port.queue_id',
    set: 'ip link set dev "$dev" type bond_slave queue_id 3',
    read: portWord('queue_id'),
  },
];
