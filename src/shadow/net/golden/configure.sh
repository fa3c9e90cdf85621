#!/bin/sh
# Gives an interface some of everything that a capture reads. The goldens were taken after this, in a Debian 12 guest.
#
#   configure.sh INTERFACE [DEVICE]   DEVICE: the direct device, when INTERFACE is a shadow interface above it

dev=$1
low=${2:-$1}

q() {
  "$@" || echo "failed ($?): $*" >&2
}

q ip link set dev "$dev" mtu 1400 txqueuelen 500 alias 'lab "uplink" №1' group 5
q ip link property add dev "$dev" altname uplink-with-a-long-name
q ip link set dev "$dev" promisc on
echo 2001:db8::1 >"/proc/sys/net/ipv6/conf/$dev/stable_secret"
echo 0 >"/proc/sys/net/ipv6/conf/$dev/addr_gen_mode"
echo 0 >"/proc/sys/net/ipv6/conf/$dev/accept_dad"
# not every driver takes all of these
ethtool -G "$low" rx 512 tx 512
ethtool -C "$low" rx-usecs 50
ethtool -K "$low" tso off
ethtool -A "$low" autoneg off rx off
q ip link set dev "$dev" up
tries=0
until [ "$(cat "/sys/class/net/$dev/carrier")" = 1 ] || [ $tries = 100 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
q ip addr add 10.77.0.10/24 broadcast + dev "$dev" label "$dev:lab"
q ip addr add 10.77.0.11/24 dev "$dev"
q ip addr add 10.88.0.1 peer 10.88.0.2/32 dev "$dev" metric 70
q ip addr add fd77::10/64 dev "$dev" nodad
q ip addr add fd78::10/64 dev "$dev" nodad noprefixroute valid_lft 5000 preferred_lft 2000
q ip addr add fd79::10/128 dev "$dev" nodad preferred_lft 0
q ip route add default via 10.77.0.1 metric 100 proto static
q ip route add 10.1.0.0/16 via 10.77.0.2 mtu lock 1300 advmss 1200 initcwnd 20 rto_min 300ms congctl cubic
q ip route add 10.2.0.0/16 dev "$dev" table 100
q ip route add 10.3.0.0/16 table 100 nexthop via 10.77.0.1 dev "$dev" weight 2 nexthop via 10.77.0.2 dev "$dev" weight 3
q ip route add blackhole 10.4.0.0/16
q ip route add 10.5.0.0/16 via 172.16.0.1 dev "$dev" onlink
q ip nexthop add id 5 via 10.77.0.3 dev "$dev"
q ip route add 10.6.0.0/16 nhid 5
q ip route add 10.7.0.0/16 via inet6 fe80::77 dev "$dev"
q ip -6 route add default via fd77::1 dev "$dev" metric 200 pref high
q ip -6 route add fd90::/64 nexthop via fd77::1 dev "$dev" nexthop via fd77::2 dev "$dev"
q ip rule add iif "$dev" lookup 100 priority 100
q ip rule add from 10.77.0.10 fwmark 0x1/0xff lookup 100 priority 101
q ip rule add to 10.99.0.0/16 lookup main priority 102
q ip -6 rule add oif "$dev" lookup main priority 103
q ip neigh add 10.77.0.9 lladdr 52:54:00:00:00:99 dev "$dev" nud permanent
q ip neigh add 10.77.0.8 lladdr 52:54:00:00:00:98 dev "$dev" nud stale
q ip neigh add 10.77.0.7 lladdr 52:54:00:00:00:97 dev "$dev" extern_learn
q ip neigh add proxy 10.77.0.77 dev "$dev"
q ip neigh add proxy fd77::77 dev "$dev"
q ip neigh add fd77::9 lladdr 52:54:00:00:00:99 dev "$dev" nud permanent router
q tc qdisc replace dev "$dev" root handle 10: fq_codel limit 2000 target 7ms noecn
q tc qdisc add dev "$dev" clsact
q ip maddr add 01:00:5e:01:02:03 dev "$dev"
q sysctl -q -w "net.ipv4.conf.$dev.rp_filter=2" "net.ipv4.conf.$dev.arp_announce=2" \
  "net.ipv6.conf.$dev.accept_ra=0" "net.ipv4.neigh.$dev.gc_stale_time=120"
