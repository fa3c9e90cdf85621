#!/bin/sh
# Prints what there is to know about one network device, and about the interface that carries its addresses,
# in one run. Changes nothing.
#
#   capture.sh MAC PCIPATH              the device 0000:01:00.0 with this MAC
#   capture.sh MAC - INTERFACE          the device is away; INTERFACE is its shadow interface
#   capture.sh MAC PCIPATH '' KNOWN     KNOWN: `BOOT INDEX SECTION…`. In this boot, of the interface with this index,
#                                       these sections of ethtool are known and not asked for again
#
# Output: sections. `@@ NAME` opens one, `@@. CODE` closes it with the exit code of what printed it, and
# `@@ end` says that the capture is whole. Exit code 0 even when a tool is missing: its section says so.
#
# Every process costs 5 to 15 ms in an emulated guest, so sysfs is read by the shell itself, ip runs in batches, and
# nothing is asked of which there can be none. Names of interfaces may hold any character but white space, `/` and `:`, and are always quoted.

set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
IFS='
'
export PATH LC_ALL
unset CDPATH

mac=${1:?usage: capture.sh MAC PCIPATH, or capture.sh MAC - INTERFACE}
pci=${2:?usage: capture.sh MAC PCIPATH, or capture.sh MAC - INTERFACE}
known=${4-}
class=/sys/class/net
devices=${SHADOWFERRY_PCI:-/sys/bus/pci/devices} # tests point this at a made-up tree
spaces=${SHADOWFERRY_SPACES-}                     # and this

# Sets `tool` to the program's path. By path, because busybox prefers its own `ip` to a plain name.
find_tool() {
  tool=
  for found in "/usr/sbin/$1" "/sbin/$1" "/usr/bin/$1" "/bin/$1" "/usr/local/sbin/$1" "/usr/local/bin/$1"; do
    if [ -x "$found" ]; then
      tool=$found
      return 0
    fi
  done
  return 1
}

# Sets `value` to the first line of a file; fails when there is none or it cannot be read (EIO, EINVAL).
value_of() {
  value=
  { IFS= read -r value <"$1"; } 2>/dev/null || [ -n "$value" ]
}

# Sets `where` to the physical path of a directory.
physical() {
  where=
  cd -P "$1" 2>/dev/null || return 1
  where=$PWD
}

section() {
  printf '@@ %s\n' "$1"
}

close() {
  printf '@@. %s\n' "$1"
}

# Runs a command as one section; what it says on stderr is part of it.
run() {
  section "$1"
  shift
  "$@" 2>&1 </dev/null
  close $?
}

missing() {
  section "$1"
  printf '%s\n' "$2"
  close 127
}

# Is this the device's interface? By its MAC, or by the one it had before a bond gave it another.
has_mac() {
  value_of "$1/address" && [ "$value" = "$mac" ] && return 0
  value_of "$1/bonding_slave/perm_hwaddr" && [ "$value" = "$mac" ]
}

device=
count=0
by=mac
if [ "$pci" = - ]; then
  carrying=${3:?the name of the shadow interface is needed when the device is away}
  [ -e "$class/$carrying" ] || carrying=
else
  carrying=
  # names may begin with a dot
  for dir in "$devices/$pci"/net/* "$devices/$pci"/net/.[!.]* "$devices/$pci"/net/..?* \
    "$devices/$pci"/virtio[0-9]*/net/* "$devices/$pci"/virtio[0-9]*/net/.[!.]* \
    "$devices/$pci"/virtio[0-9]*/net/..?*; do
    [ -e "$dir" ] || continue
    # The master and the standby of a failover share the standby's PCI function: neither is a direct device.
    [ -e "$dir/bonding" ] && continue
    count=$((count + 1))
    last=${dir##*/}
    if [ -z "$device" ] && has_mac "$class/$last"; then
      device=$last
    fi
  done
  # The MAC may have been changed in the guest; alone on its PCI function it is still the device.
  if [ -z "$device" ] && [ "$count" = 1 ]; then
    device=$last
    by=path
  fi
fi

# The interface that carries the addresses: the master, where that is a shadow interface.
master=
if [ -n "$device" ]; then
  carrying=$device
  if physical "$class/$device/master"; then
    master=${where##*/}
    if value_of "$class/$master/bonding/mode"; then
      case $value in
        active-backup*) carrying=$master ;;
      esac
    elif [ -e "$class/$master/device" ] && physical "$class/$master/device/driver" &&
      [ "${where##*/}" = virtio_net ]; then
      carrying=$master
    fi
  fi
fi
cd /

section capture
printf 'version 1\n'
printf 'device %s\n' "$device"
printf 'carrying %s\n' "$carrying"
printf 'found-by %s\n' "$by"
close 0

if [ -z "$carrying" ]; then
  section end
  close 0
  exit 0
fi

section sysfs
fact() {
  printf '%s %s %s\n' "$1" "$2" "$3"
}
facts_of() {
  dir=$class/$1
  for key in ifindex address flags carrier operstate addr_assign_type threaded gro_flush_timeout \
    napi_defer_hard_irqs bonding_slave/perm_hwaddr; do
    if value_of "$dir/$key"; then fact "$1" "$key" "$value"; fi
  done
  if physical "$dir/master"; then
    fact "$1" master "${where##*/}"
    for key in bonding bridge brport team; do
      if [ -e "$where/$key" ]; then fact "$1" master-is "$key"; fi
    done
  fi
  for key in bonding bridge tun_flags; do
    if [ -e "$dir/$key" ]; then fact "$1" is "$key"; fi
  done
  for key in "$dir"/lower_*; do
    if [ -e "$key" ]; then fact "$1" lower "${key#"$dir/lower_"}"; fi
  done
  for key in "$dir"/upper_*; do
    if [ -e "$key" ]; then fact "$1" upper "${key#"$dir/upper_"}"; fi
  done
  if physical "$dir/device"; then
    fact "$1" device "$where"
    if physical "$dir/device/driver"; then fact "$1" driver "${where##*/}"; fi
    if value_of "$dir/device/driver/module/version"; then fact "$1" driver-version "$value"; fi
  fi
  for key in "$dir"/bonding/*; do
    if value_of "$key"; then fact "$1" "bonding/${key##*/}" "$value"; fi
  done
}
# Settings of the device's queues, and what its interrupts are for and where they go.
queue_facts() {
  for dir in "$class/$1"/queues/*; do
    for key in rps_cpus rps_flow_cnt xps_cpus xps_rxqs tx_maxrate byte_queue_limits/limit_max \
      byte_queue_limits/limit_min byte_queue_limits/hold_time; do
      if value_of "$dir/$key"; then fact "$1" "queues/${dir##*/}/$key" "$value"; fi
    done
  done
  some=
  for dir in "$devices/$pci"/msi_irqs/*; do
    if [ -e "$dir" ]; then
      some=1
      vector_facts "$1" "${dir##*/}"
    fi
  done
  if [ -z "$some" ] && value_of "$devices/$pci/irq"; then vector_facts "$1" "$value"; fi
  if value_of /proc/irq/default_smp_affinity; then fact "$1" irq/default "$value"; fi
  for dir in /run/irqbalance*; do
    if [ -e "$dir" ]; then fact "$1" irq/balancer irqbalance; fi
  done
}
vector_facts() {
  for dir in "/proc/irq/$2"/*/; do
    dir=${dir%/}
    if [ -d "$dir" ]; then fact "$1" "irq/$2/action" "${dir##*/}"; fi
  done
  if value_of "/proc/irq/$2/smp_affinity"; then fact "$1" "irq/$2/smp_affinity" "$value"; fi
}
for dir in "$class"/* "$class"/.[!.]* "$class"/..?*; do
  name=${dir##*/}
  if [ -e "$dir/device" ] || [ "$name" = "$device" ] || [ "$name" = "$carrying" ] ||
    [ -e "$class/$carrying/lower_$name" ]; then
    facts_of "$name"
  fi
done
if [ -n "$device" ]; then
  for key in vendor device subsystem_vendor subsystem_device; do
    if value_of "$devices/$pci/$key"; then fact "$device" "pci/$key" "$value"; fi
  done
  queue_facts "$device"
  if value_of /proc/sys/kernel/osrelease; then fact "$device" kernel "$value"; fi
  if value_of /proc/sys/kernel/random/boot_id; then fact "$device" boot "$value"; fi
  if value_of /proc/sys/net/core/netdev_rss_key; then fact "$device" rss-key "$value"; fi
fi
cd /
close 0

# The shell reads byte by byte, and files below /proc/sys end after the first read: one grep reads them all. What
# cannot be read (EIO from a stable_secret that was never set) is not there.
section sysctl
grep -H '' "/proc/sys/net/ipv4/conf/$carrying"/* "/proc/sys/net/ipv4/neigh/$carrying"/* \
  "/proc/sys/net/ipv6/conf/$carrying"/* "/proc/sys/net/ipv6/neigh/$carrying"/* \
  /proc/sys/net/core/rps_sock_flow_entries 2>/dev/null </dev/null
close 0

# JSON where it says everything. Routes and rules as text: their JSON leaves out `lock`, and gives an
# encapsulation's `dst` the same key as the route's own.
# What may stand on the interface: whatever stands on something, and is no device itself. Which ones do is for who reads
# this to find out: a VLAN on a VLAN is told only by `ip`.
set --
vxlan=
sysctls_of_uppers() {
  if [ $# = 0 ]; then return 0; fi
  section sysctl-upper
  grep -H '' "$@" 2>/dev/null </dev/null
  close 0
}
for dir in "$class"/* "$class"/.[!.]* "$class"/..?*; do
  if [ -e "$dir/device" ] || [ "${dir##*/}" = "$carrying" ]; then continue; fi
  below=
  if value_of "$dir/iflink"; then below=$value; fi
  if value_of "$dir/ifindex" && [ "$below" = "$value" ]; then below=; fi
  for key in "$dir"/lower_*; do
    if [ -e "$key" ]; then below=$key; fi
  done
  if [ -z "$below" ] || [ "$below" = 0 ] || [ -e "$dir/bonding" ] || [ -e "$dir/bridge" ]; then continue; fi
  name=${dir##*/}
  set -- "$@" "/proc/sys/net/ipv4/conf/$name"/* "/proc/sys/net/ipv4/neigh/$name"/* \
    "/proc/sys/net/ipv6/conf/$name"/* "/proc/sys/net/ipv6/neigh/$name"/*
  # more would be too many words for one process
  if [ $# -gt 9000 ]; then
    sysctls_of_uppers "$@"
    set --
  fi
  if value_of "$dir/uevent" && [ "$value" = DEVTYPE=vxlan ]; then vxlan=1; fi
done
sysctls_of_uppers "$@"
if [ -n "$vxlan" ] && find_tool bridge; then run fdb "$tool" -j -d fdb show; fi

if find_tool ip; then
  section ip-json
  "$tool" -j -d -force -batch - 2>&1 <<'BATCH'
address show
neighbour show nud all
neighbour show proxy
maddress show
token list
nexthop show
BATCH
  close $?
  for family in 4 6; do
    section "ip-$family"
    "$tool" -d "-$family" -force -batch - 2>&1 <<'BATCH'
route show table all
rule show
BATCH
    close $?
  done
else
  missing ip-json 'there is no iproute2 (ip) here'
fi

# What a bridge keeps about the interface as its port.
if physical "$class/$carrying/master" && [ -e "$where/bridge" ] && find_tool bridge; then
  bridge=${where##*/}
  section bridge
  case $carrying$bridge in
    *[!A-Za-z0-9_@%+=:,./-]*)
      "$tool" -j -d vlan show dev "$carrying" </dev/null
      "$tool" -j -d vlan tunnelshow dev "$carrying" </dev/null
      "$tool" -j -d fdb show brport "$carrying" </dev/null
      "$tool" -j -d mdb show dev "$bridge" </dev/null
      ;;
    *)
      "$tool" -j -d -force -batch - <<BATCH
vlan show dev $carrying
vlan tunnelshow dev $carrying
fdb show brport $carrying
mdb show dev $bridge
BATCH
      ;;
  esac 2>&1
  close $?
fi
cd /

# Files that keep programs of the kernel: by them a program can be attached again.
for pin in /sys/fs/bpf/*; do
  [ -e "$pin" ] || continue
  if find_tool bpftool; then
    run programs "$tool" -j -f prog show
  else
    run pins find /sys/fs/bpf -type f
  fi
  break
done
# Programs of interfaces that no qdisc shows, which kernels have from 6.6 on.
if value_of /proc/sys/kernel/osrelease; then
  case $value in
    6.[6-9].* | 6.[1-9][0-9].* | [7-9].* | [1-9][0-9].*)
      if find_tool bpftool; then run tcx "$tool" -j net show dev "$carrying"; fi
      ;;
  esac
fi

# Asks tc one batch of questions, one a line. `end`, which it does not know, makes it say so: that parts the answers.
# A name that no batch takes is asked about question by question.
ask_tc() {
  case $carrying in
    *[!A-Za-z0-9_@%+=:,./-]*)
      while IFS=' ' read -r object side parent <&3; do
        if [ -z "$object" ]; then
          continue
        elif [ "$object" = end ]; then
          echo 'Object "end" is unknown'
        else
          "$tool" -d "$object" show dev "$carrying" ${side:+"$side"} ${parent:+"$parent"} </dev/null
        fi
      done 3<<QUESTIONS
$1
QUESTIONS
      ;;
    *)
      batch=
      for question in $1; do
        case $question in
          end) batch="${batch}end$IFS" ;;
          *' '*) batch="$batch${question%% *} show dev $carrying ${question#* }$IFS" ;;
          *) batch="$batch$question show dev $carrying$IFS" ;;
        esac
      done
      "$tool" -d -force -batch - <<BATCH
$batch
BATCH
      ;;
  esac 2>&1
}

# Classes, and the filters of every qdisc and class that can have some. In text, as the JSON is not whole. Nothing is
# asked where all qdiscs are the kernel's own.
ask_traffic_control() {
  case $qdiscs in
    *'"handle":"'[!0]*) ;;
    *) return 0 ;;
  esac
  made=
  if ! without_classes; then made=$(ask_tc "qdisc${IFS}class"); fi
  section class
  if [ -n "$made" ]; then printf '%s\n' "$made"; fi
  close 0
  while IFS=' ' read -r object kind id rest <&3; do
    case $object.$kind.$id in
      qdisc.clsact.*) places="${places}ingress${IFS}egress$IFS" ;;
      qdisc.ingress.*) places="${places}ingress$IFS" ;;
      qdisc.*.0:) ;;
      qdisc.* | class.htb.*:?* | class.hfsc.*:?*) places="$places$id$IFS" ;;
    esac
  done 3<<MADE
$made
MADE
  section filter-places
  printf '%s' "$places"
  close 0
  section filter
  questions=
  for place in $places; do
    case $place in
      *:*) words="parent $place" ;;
      *) words=$place ;;
    esac
    questions="${questions}filter $words${IFS}end${IFS}chain $words${IFS}end$IFS"
  done
  filters=
  if [ -n "$questions" ]; then
    filters=$(ask_tc "$questions")
    printf '%s\n' "$filters"
  fi
  close 0
  # releases round bursts differently
  case $qdiscs$made$filters in
    *burst*) run tc-version "$tool" -V ;;
  esac
}

# Do the interface's qdiscs have no classes? Then `places` are those of them that may have filters.
without_classes() {
  places=
  case $carrying in
    *[!A-Za-z0-9_@%+=:,./-]*) return 1 ;; # JSON may write it otherwise
  esac
  rest=$qdiscs
  while :; do
    case $rest in
      *'{"kind":"'*) rest=${rest#*'{"kind":"'} ;;
      *) return 0 ;;
    esac
    one=${rest%%'{"kind":"'*}
    case $one in
      *'","dev":"'"$carrying"'",'*) ;;
      *'","dev":"'*) continue ;;
      *) break ;;
    esac
    case $one in
      noqueue'","handle":"0:"'*) ;;
      fq_codel'","handle":"'*) one=${one#*'","handle":"'} ;;
      *) break ;;
    esac
    case $one in
      noqueue* | 0:*) ;;
      *) places="$places${one%%'"'*}$IFS" ;;
    esac
  done
  places=
  return 1
}

if find_tool tc; then
  section qdisc
  qdiscs=$("$tool" -j -d qdisc show 2>&1 </dev/null)
  code=$?
  printf '%s\n' "$qdiscs"
  close "$code"
  ask_traffic_control
else
  missing qdisc 'there is no tc here'
fi

# What is bound to an interface's index: sockets, and what nftables looked up when it was loaded. Of many sockets few.
# Only kinds are asked for of which there are some: each other one has the kernel look for a module. The first two
# always go together, as ss leaves the column of kinds out where it is told to show one.
kinds_of_sockets() {
  kinds=
  if ! [ -r /proc/net/protocols ]; then
    kinds=inet,packet
    return 0
  fi
  while IFS=' ' read -r name _ count _; do
    case $name.$count in
      *.0 | *.-1 | protocol.*) ;;
      TCP.* | TCPv6.* | UDP.* | UDPv6.*) kinds="tcp,udp${kinds#tcp,udp}" ;;
      RAW.* | RAWv6.*) kinds="$kinds,raw" ;;
      PACKET.*) kinds="$kinds,packet" ;;
      MPTCP*.* | DCCP*.* | SCTP*.*) kinds="$kinds,inet" ;;
    esac
  done </proc/net/protocols
  case $kinds in
    ,*) kinds=tcp,udp$kinds ;;
  esac
}

if find_tool ss; then
  section sockets
  kinds_of_sockets
  if [ -n "$kinds" ]; then
    "$tool" -H -n -a -p -A "$kinds" 2>/dev/null </dev/null | grep -e '%' -e '^p_'
  fi
  close 0
else
  missing sockets 'there is no ss here'
fi
if [ -e /sys/module/nf_tables ] && find_tool nft; then run firewall "$tool" -a list ruleset; fi

# Other network namespaces: an interface of a container (macvlan, ipvlan, VLAN) may stand on one of ours, of which
# nothing is seen from here. Each namespace once, by its name where it has one.
set --
for space in "$spaces"/run/netns/* "$spaces"/run/docker/netns/* "$spaces"/proc/[0-9]*/ns/net; do
  # shellcheck disable=SC3013 # dash, busybox ash and bash know -ef
  if [ ! -e "$space" ] || [ "$space" -ef /proc/self/ns/net ]; then continue; fi
  for each; do
    # shellcheck disable=SC3013
    if [ "$space" -ef "$each" ]; then continue 2; fi
  done
  set -- "$@" "$space"
done
if [ $# != 0 ]; then
  find_tool nsenter && nsenter=$tool
  find_tool ip && ip=$tool
fi
for space; do
  section namespace
  case $space in
    */ns/net)
      value=${space%/ns/net}
      pid=${value##*/}
      value_of "$value/comm"
      printf 'process %s (%s)\n' "$pid" "$value"
      ;;
    *) printf '%s\n' "${space##*/}" ;;
  esac
  "${nsenter:-nsenter}" --net="$space" "${ip:-ip}" -d -j link show 2>&1 </dev/null
  close $?
done

# Asks ethtool for one section: ask_ethtool SECTION OPTION
ask_ethtool() {
  case $known in
    *" ethtool-$1 "*) ;;
    *) run "ethtool-$1" "$tool" ${2:+"$2"} "$device" ;;
  esac
}

if [ -n "$device" ]; then
  if find_tool ethtool; then
    this=-
    if value_of /proc/sys/kernel/random/boot_id; then this=$value; fi
    if value_of "$class/$device/ifindex"; then this="$this $value "; fi
    case $known in
      "$this"*) known=" ${known#"$this"} " ;;
      *) known= ;;
    esac
    for option in k g l c a u T; do
      ask_ethtool "$option" "-$option"
    done
    ask_ethtool settings ''
    ask_ethtool priv-flags --show-priv-flags
    ask_ethtool eee --show-eee
    ask_ethtool fec --show-fec
    code=1
    case $known in
      *' ethtool-x '*) ;;
      *)
        section ethtool-x
        "$tool" -x "$device" 2>&1 </dev/null
        code=$?
        close "$code"
        ;;
    esac
    # What flows are spread by can be set only where there is a table to spread them over.
    if [ "$code" = 0 ]; then
      for option in tcp4 udp4 sctp4 tcp6 udp6 sctp6; do
        run "ethtool-flow-hash-$option" "$tool" -n "$device" rx-flow-hash "$option"
      done
    fi
  else
    missing ethtool-k 'there is no ethtool here'
  fi
fi

section end
close 0
