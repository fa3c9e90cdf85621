/** Cases of classes and filters. */
import { loadProgram } from './bpf-object.ts';
import type { AttributeCase } from './case.ts';

/** The lines of one filter, from its own first line to the next one's. */
const filter = (place: string, pref: number): string =>
  `tc -d filter show dev "$dev" ${place} | awk '/^filter/ { on = / pref ${pref} / } on' | sed -e 's/index [0-9]* ref 1 bind 1/index ref 1 bind 1/' -e 's/ *$//'`;

const klass = (id: string): string => `tc -d class show dev "$dev" classid ${id} | sed -e 's/ *$//'`;

const filterCase = (
  key: string,
  place: string,
  pref: number,
  rest: string,
  protocol = 'ip',
): AttributeCase => ({
  key,
  set: `tc filter add dev "$dev" ${place} protocol ${protocol} pref ${pref} ${rest}`,
  read: filter(place, pref),
});

/** What `ip` says of an interface's XDP programs. */
const xdp = `ip -d link show dev "$dev" | grep -o -e 'prog/xdp.*' -e 'xdp[a-z]*' | sort -u`;

export const TRAFFIC_CONTROL_CASES: readonly AttributeCase[] = [
  {
    key: 'qdisc.root',
    set: 'tc qdisc replace dev "$dev" root handle 1: stab overhead 18 mpu 64 linklayer ethernet htb default 20 r2q 7; tc qdisc add dev "$dev" clsact',
    read: `tc -d qdisc show dev "$dev" | grep -A 1 -e ' root ' | sed -e 's/ refcnt [0-9]*//' -e 's/ direct_packets_stat [0-9]*//' -e 's/ *$//'`,
  },
  {
    key: 'tcclass.1:1',
    set: 'tc class add dev "$dev" parent 1: classid 1:1 htb rate 900mbit burst 20k',
    read: klass('1:1'),
  },
  {
    key: 'tcclass.1:20',
    set: 'tc class add dev "$dev" parent 1:1 classid 1:20 htb rate 333mbit ceil 800mbit prio 3 cburst 123456',
    read: klass('1:20'),
  },
  {
    key: 'qdisc.1:20',
    set: 'tc qdisc add dev "$dev" parent 1:20 handle 20: sfq perturb 10',
    read: `tc qdisc show dev "$dev" | grep -e ' parent 1:20 '`,
  },
  filterCase('filter.1:.5.ip.1:', 'parent 1:', 5, 'handle 1: u32 divisor 16'),
  filterCase(
    'filter.1:.6.ip.::800',
    'parent 1:',
    6,
    'u32 match ip src 192.0.2.0/24 match ip dport 80 0xffff flowid 1:20',
  ),
  filterCase('filter.1:.7.all.0x5', 'parent 1:', 7, 'handle 5 fw classid 1:20', 'all'),
  filterCase(
    'filter.ingress.10.ip.0x1',
    'ingress',
    10,
    'flower src_ip 192.0.2.0/24 ip_proto tcp dst_port 80-90 action skbedit mark 7 pipe action police rate 5mbit burst 20k conform-exceed drop/pipe action pedit ex munge ip ttl set 64 munge eth src set 02:00:00:00:00:05 pipe action csum ip4h',
  ),
  filterCase(
    'filter.ingress.chain=5.11.802.1Q.0x1',
    'ingress',
    11,
    'chain 5 flower vlan_id 5 action vlan pop pipe action goto chain 6',
    '802.1Q',
  ),
  filterCase(
    'filter.egress.12.all.0x1',
    'egress',
    12,
    "basic match 'meta(priority eq 77)' action drop index 77",
    'all',
  ),
  filterCase('filter.egress.14.all.0x1', 'egress', 14, 'matchall action gact index 77', 'all'),
  filterCase(
    'filter.egress.13.all.0x1',
    'egress',
    13,
    "bpf direct-action bytecode '1,6 0 0 4294967295,'",
    'all',
  ),
  {
    key: 'filter.egress.15.all.0x1',
    set: `${loadProgram('tc', 'sfcls', -1, 'classifier')}
tc filter add dev "$dev" egress protocol all pref 15 bpf da object-pinned /sys/fs/bpf/sfcls`,
    read: filter('egress', 15),
  },
  {
    key: 'link.xdp',
    set: `${loadProgram('xdp', 'sfpass', 2, 'xdp')}
ip link set dev "$dev" xdpgeneric pinned /sys/fs/bpf/sfpass`,
    read: xdp,
  },
];

/** A program that no file keeps goes with its device. */
export const LOST_PROGRAM: AttributeCase = {
  key: 'link.xdp',
  set: `${loadProgram('xdp', 'sfgone', 2, 'xdp')}
ip link set dev "$dev" xdpgeneric pinned /sys/fs/bpf/sfgone && rm /sys/fs/bpf/sfgone`,
  read: xdp,
  expect: { fate: 'lost', why: /program \d+ cannot be attached again: no file below/ },
};

/** What the driver of virtio-net runs itself, and most others do not. */
export const ADAPTED_PROGRAM: AttributeCase = {
  key: 'link.xdp',
  set: `${loadProgram('xdp', 'sfpass', 2, 'xdp')}
ip link set dev "$dev" xdpdrv pinned /sys/fs/bpf/sfpass`,
  read: xdp,
  expect: { fate: 'adapted', now: /xdpgeneric/, how: /the kernel does, for any device/ },
};
