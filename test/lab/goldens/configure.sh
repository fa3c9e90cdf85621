#!/bin/sh
# Gives one NIC of a guest some of everything that a capture reads. The goldens of the releases of Debian were taken after
# this. Says what it could not do, as lines `failed …`, and last `nic NAME MAC PCIPATH`.
#
#   configure.sh bond     e1000e below a bond with a standby, and a VLAN on the bond; driver settings
#   configure.sh uppers   vmxnet3 alone: addresses, routes, rules, neighbours, next hops, and whatever may stand on it
#   configure.sh port     virtio-net as a port of a bridge, with VLANs, entries and groups
#   configure.sh odd      rtl8139 with a name and an alias as bad as they may be, and traffic control

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

q() {
  said=$("$@" 2>&1) || echo "failed ($?): $*: $said"
}

# Sets `dev`, `mac` and `pci` to those of the NIC with this driver and the end of a MAC, which may be still to come: the
# guest agent is up before udev is done.
find_nic() {
  tries=0
  while [ "$tries" -lt 60 ]; do
    tries=$((tries + 1))
    for dir in /sys/class/net/*; do
      dev=${dir##*/}
      mac=$(cat "$dir/address")
      at=$(readlink -f "$dir/device") || continue
      [ "$(basename "$(readlink -f "$at/driver")")" = "$1" ] || continue
      pci=$(printf '%s\n' "$at" | tr / '\n' | grep '^0000:[0-9a-f]*:[0-9a-f]*\.[0-9]$' | tail -n 1)
      case $mac in
        *"$2") return 0 ;;
      esac
    done
    sleep 1
  done
  echo "failed: no $1"
  exit 0
}

found() {
  printf 'nic %s %s %s\n' "$1" "$mac" "$pci"
}

set_sysctl() {
  printf '%s' "$2" >"/proc/sys/net/$1" || echo "failed: $1"
}

common() {
  q ip link set dev "$1" txqueuelen "50$2" alias "lab \"uplink\" №$2" group "$2" mtu "140$2"
  q ip link property add dev "$1" altname "uplink-$2-with-a-long-name"
  # no link-local address, which comes at a time of its own
  set_sysctl "ipv6/conf/$1/addr_gen_mode" 1
  set_sysctl "ipv6/conf/$1/accept_dad" 0
  set_sysctl "ipv6/conf/$1/accept_ra" 0
  set_sysctl "ipv4/conf/$1/rp_filter" 2
  set_sysctl "ipv4/neigh/$1/gc_stale_time" 120
}

make_bond() {
  q modprobe bonding max_bonds=0
  find_nic virtio_net 00:10
  standby=$dev
  find_nic e1000e 00:10
  q ip link set dev "$dev" down
  q ip link set dev "$dev" name bnd0-d
  q ip link set dev "$standby" down
  q ip link add bnd0 type bond mode active-backup miimon 100
  common bnd0 1
  q ethtool -G bnd0-d rx 512 tx 1024
  q ethtool -C bnd0-d rx-usecs 50
  q ethtool -K bnd0-d tso off rxvlan off
  q ethtool -A bnd0-d autoneg off rx off tx off
  q ethtool -s bnd0-d wol g msglvl 0x3
  q ip link set dev bnd0-d master bnd0
  q ip link set dev "$standby" master bnd0
  q ip link set dev bnd0 up
  printf bnd0-d >/sys/class/net/bnd0/bonding/primary
  q ip addr add 10.71.0.10/24 broadcast + dev bnd0 label bnd0:lab
  q ip -6 addr add fd71::10/64 dev bnd0 nodad
  q ip link add link bnd0 name bnd0.7 type vlan id 7
  q ip link set dev bnd0.7 up
  q ip addr add 10.171.0.10/24 dev bnd0.7
  q ip route add 10.1.1.0/24 via 10.71.0.1 dev bnd0 proto static metric 100
  q ip neigh add 10.71.0.9 lladdr 52:54:00:00:00:99 dev bnd0 nud permanent
  found bond
}

make_uppers() {
  find_nic vmxnet3 01:10
  q ip link set dev "$dev" down
  q ip link set dev "$dev" name vm0
  common vm0 2
  q ip link set dev vm0 promisc on allmulticast on
  q ethtool -G vm0 rx 512
  q ethtool -K vm0 lro off
  q ip link set dev vm0 up
  q ip addr add 10.72.0.10/24 broadcast + dev vm0
  q ip addr add 10.72.0.11/24 dev vm0
  q ip addr add 10.88.0.1 peer 10.88.0.2/32 dev vm0 metric 70
  q ip addr add 10.89.0.1/24 dev vm0 noprefixroute scope link
  q ip -6 addr add fd72::10/64 dev vm0 nodad
  q ip -6 addr add fd73::10/64 dev vm0 nodad noprefixroute valid_lft 500000 preferred_lft 200000
  q ip -6 addr add fd74::10/128 dev vm0 nodad preferred_lft 0
  set_sysctl ipv6/conf/vm0/accept_ra 1
  q ip token set ::72:1 dev vm0
  q ip route add default via 10.72.0.1 dev vm0 metric 100 proto static
  q ip route add 10.1.0.0/16 via 10.72.0.2 dev vm0 mtu lock 1300 advmss 1200 initcwnd 20 rto_min 300ms congctl cubic
  q ip route add 10.2.0.0/16 dev vm0 table 100 src 10.72.0.10 realms 5
  q ip route add 10.3.0.0/16 table 100 nexthop via 10.72.0.1 dev vm0 weight 2 nexthop via 10.72.0.2 dev vm0 weight 3
  q ip route add blackhole 10.4.0.0/16
  q ip route add 10.5.0.0/16 via 172.16.0.1 dev vm0 onlink
  q ip route add 10.7.0.0/16 via inet6 fe80::77 dev vm0
  q ip route add local 10.8.0.0/16 dev vm0 table local
  q ip route add 10.9.0.0/16 tos 0x10 dev vm0
  q ip nexthop add id 5 via 10.72.0.3 dev vm0
  q ip nexthop add id 6 via 10.72.0.4 dev vm0 proto static
  q ip nexthop add id 7 group 5,2/6
  q ip nexthop add id 8 via fd72::3 dev vm0
  q ip route add 10.6.0.0/16 nhid 7
  q ip -6 route add fd96::/64 nhid 8
  q ip -6 route add default via fd72::1 dev vm0 metric 200 pref high
  q ip -6 route add fd90::/64 nexthop via fd72::1 dev vm0 nexthop via fd72::2 dev vm0 weight 3
  q ip rule add iif vm0 lookup 100 priority 100
  q ip rule add from 10.72.0.10 fwmark 0x1/0xff lookup 100 priority 101
  q ip rule add to 10.99.0.0/16 oif vm0 ipproto tcp sport 80-90 lookup main priority 102
  q ip -6 rule add oif vm0 lookup main suppress_prefixlength 0 priority 103
  q ip rule add from 10.72.0.11 uidrange 0-5 tos 0x10 lookup 100 priority 104
  q ip neigh add 10.72.0.9 lladdr 52:54:00:00:00:99 dev vm0 nud permanent
  q ip neigh add 10.72.0.7 lladdr 52:54:00:00:00:97 dev vm0 extern_learn
  q ip neigh add proxy 10.72.0.77 dev vm0
  q ip -6 neigh add proxy fd72::77 dev vm0
  q ip -6 neigh add fd72::9 lladdr 52:54:00:00:00:99 dev vm0 nud permanent router
  q ip maddr add 01:00:5e:01:02:03 dev vm0
  q ip link add link vm0 name vm0.10 type vlan id 10 gvrp on egress-qos-map 1:2 3:4 ingress-qos-map 5:6
  q ip link add link vm0 name vm0.ad type vlan proto 802.1ad id 20
  q ip link add link vm0.ad name vm0.ad.30 type vlan id 30 reorder_hdr off
  q ip link add link vm0 name mac0 address 52:54:00:00:72:01 type macvlan mode bridge
  q ip link add link vm0 name mac1 address 52:54:00:00:72:02 type macvlan mode source
  q ip link set link dev mac1 type macvlan macaddr add 52:54:00:00:72:03
  q ip link add link vm0.10 name ipv0 type ipvlan mode l3 bridge
  q ip link add vx0 address 52:54:00:00:72:04 type vxlan id 42 group 239.1.1.1 dev vm0 dstport 4789 ttl 5 ageing 200
  q ip link add vx1 address 52:54:00:00:72:05 type vxlan id 43 remote 10.72.0.44 local 10.72.0.10 dev vm0 dstport 4790 nolearning
  q bridge fdb append 52:54:00:00:72:06 dev vx1 dst 10.72.0.45
  q ip link add gre0x type gre remote 10.72.0.46 local 10.72.0.10 dev vm0 key 7
  for upper in vm0.10 vm0.ad vm0.ad.30 mac0 ipv0 vx0; do
    set_sysctl "ipv6/conf/$upper/addr_gen_mode" 1
    q ip link set dev "$upper" up
  done
  q ip addr add 10.172.0.10/24 dev vm0.10
  q ip -6 addr add fd82::10/64 dev vm0.ad.30 nodad
  q ip route add 10.173.0.0/24 via 10.172.0.1 dev vm0.10
  q ip neigh add 10.172.0.9 lladdr 52:54:00:00:00:98 dev vm0.10 nud permanent
  q tc qdisc replace dev vm0.10 root handle 9: sfq perturb 10
  q tc qdisc replace dev vm0 root handle 10: fq_codel limit 2000 target 7ms noecn
  q tc qdisc add dev vm0 clsact
  found uppers
}

make_port() {
  find_nic virtio_net 02:10
  q ip link set dev "$dev" down
  q ip link set dev "$dev" name vt0
  common vt0 3
  q ip link add br0 type bridge vlan_filtering 1 mcast_snooping 1
  q ip link set dev vt0 master br0
  q ip link set dev vt0 up
  q ip link set dev br0 up
  q bridge vlan add dev vt0 vid 10-12
  q bridge vlan add dev vt0 vid 13 pvid untagged
  q bridge link set dev vt0 cost 7 priority 9 hairpin on learning off flood on mcast_flood off isolated on
  q bridge fdb add 52:54:00:00:73:01 dev vt0 master static vlan 13
  q bridge fdb add 52:54:00:00:73:02 dev vt0 self
  q bridge mdb add dev br0 port vt0 grp 239.3.3.3 permanent vid 13
  q ethtool -K vt0 gro off
  found port
}

make_odd() {
  find_nic 8139cp 03:10
  q ip link set dev "$dev" down
  odd="-d\"'\$*é\\x"
  q ip link set dev "$dev" name "$odd"
  q ip link set dev "$odd" alias "two
lines; \$(reboot) %s '\"" txqueuelen 777
  q ip link set dev "$odd" up
  q ip addr add 10.74.0.10/24 dev "$odd"
  q ip -6 addr add fd75::10/64 dev "$odd" nodad
  q ip route add 10.74.9.0/24 dev "$odd"
  q tc qdisc replace dev "$odd" root handle 1: htb default 10 r2q 7
  q tc class add dev "$odd" parent 1: classid 1:1 htb rate 100mbit ceil 120mbit burst 20k cburst 30k
  q tc class add dev "$odd" parent 1:1 classid 1:10 htb rate 10mbit prio 3
  q tc class add dev "$odd" parent 1:1 classid 1:20 htb rate 20mbit
  q tc qdisc add dev "$odd" parent 1:10 handle 10: sfq
  q tc qdisc add dev "$odd" parent 1:20 handle 20: pfifo limit 7
  q tc filter add dev "$odd" parent 1: protocol ip prio 5 u32 match ip src 1.2.3.0/24 flowid 1:20
  q tc qdisc add dev "$odd" ingress
  q tc filter add dev "$odd" ingress protocol ip prio 7 flower ip_proto tcp dst_port 99 action drop
  found odd
}

udevadm settle --timeout=120
# What stands there from another time; of the kernel's own interfaces none can be deleted.
for dir in /sys/class/net/*; do
  if [ ! -e "$dir/device" ]; then ip link delete dev "${dir##*/}" 2>/dev/null; fi
done
case ${1:?usage: configure.sh bond|uppers|port|odd} in
  bond) make_bond ;;
  uppers) make_uppers ;;
  port) make_port ;;
  odd) make_odd ;;
esac
exit 0
