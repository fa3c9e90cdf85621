#!/bin/sh
# Keeps the guest's network manager from fighting a replay: tells it before, and gives the interface back after.
#
#   manager.sh DIR yield     before the device leaves: finds who manages the interface, and tells it
#   manager.sh DIR giveback  when the new device has the interface's state; may be run again, and by two at once
#
# DIR/config    interface= its name; pci= PCI addresses of the direct device, one or two; standby= that of its standby, may be empty;
#               tag= a word for this device; bond= 1 when a bond stands, or will stand, above the device
# DIR/state     what `yield` found and did, for `giveback`
# DIR/client    argument vector of the DHCP client that was ended
#
# Prints `key value` lines: what it found (`manager`, `client`), how the manager reports the interface (`report`), and
# what it could not do (`problem`). Exit code 0 whatever it found. Runs under dash, busybox ash and bash.

set -u
PATH=${SHADOWFERRY_TOOLS:+$SHADOWFERRY_TOOLS:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
unset CDPATH
umask 022

dir=${1:?usage: manager.sh DIR yield|giveback}
root=${SHADOWFERRY_ROOT-} # tests put a made-up tree here
interface='' pci='' standby='' tag='' bond=''
# shellcheck source=/dev/null
. "$dir/config" || exit 1

manager=none # from here to `mark`: what `yield` found, kept in DIR/state
index=''
network_file=''
profile=''
unit=''
masked=''
client=''
leased=''
bonded=''
client_id=''
metric=''
mark=''

networks=$root/run/systemd/network
rules=$root/run/udev/rules.d/78-shadowferry-$tag.rules
network=$networks/00-shadowferry-$tag.network
members=$networks/00-shadowferry-$tag-members.network

# iproute2's, by its path: some busybox shells take their own applet for a plain `ip`, which knows a tenth of it.
ip_path=ip
for found in ${SHADOWFERRY_TOOLS:+"$SHADOWFERRY_TOOLS/ip"} /usr/sbin/ip /sbin/ip /usr/bin/ip /bin/ip /usr/local/sbin/ip /usr/local/bin/ip; do
  if [ -x "$found" ]; then
    ip_path=$found
    break
  fi
done
ip() {
  "$ip_path" "$@"
}

say() {
  printf '%s %s\n' "$1" "$2"
}

# Quotes $1 for a shell, into `quoted`.
quote() {
  text=$1
  quoted=
  while :; do
    case $text in
      *\'*)
        quoted=$quoted${text%%\'*}"'\\''"
        text=${text#*\'}
        ;;
      *) break ;;
    esac
  done
  quoted="'$quoted$text'"
}

keep_state() {
  for name in manager index network_file profile unit masked client leased bonded client_id metric mark; do
    eval "quote \"\${$name}\""
    printf '%s=%s\n' "$name" "$quoted"
  done >"$dir/state"
}

index_of() {
  index=
  { read -r index <"$root/sys/class/net/$1/ifindex"; } 2>/dev/null
}

# Sets `value` to the value of KEY=… in a file: value_in KEY FILE.
value_in() {
  value=
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      "$1="*)
        value=${line#*=}
        return 0
        ;;
    esac
    line=
  done 2>/dev/null <"$2"
  return 1
}

# Managers have this long, all in all, from the first call on, in seconds: less than the host waits for the answer.
PATIENCE=75
limit=''
in_time() {
  { read -r now rest; } </proc/uptime
  now=${now%%.*}
  if [ -z "$limit" ]; then limit=$((now + PATIENCE)); fi
  [ "$now" -lt "$limit" ]
}

# ---------------------------------------------------------------- who manages the interface

# Sets `value` to what ifupdown has noted of the interface: Debian's, and that of busybox and of Alpine.
taken_up() {
  value_in "$interface" "$root/run/network/ifstate" || value_in "$interface" "$root/run/ifstate"
}

find_manager() {
  index_of "$interface" && [ -n "$index" ] || return 0
  links=$root/run/systemd/netif/links/$index
  if [ -r "$links" ] && value_in ADMIN_STATE "$links" && [ "$value" != unmanaged ]; then
    if value_in NETWORK_FILE "$links" && [ -r "$root$value" ]; then
      manager=networkd
      network_file=$value
      return 0
    fi
  fi
  devices=$root/run/NetworkManager/devices/$index
  if [ -r "$devices" ] && value_in managed "$devices"; then
    case $value in
      true | 1)
        manager=NetworkManager
        if value_in connection-uuid "$devices"; then profile=$value; fi
        if value_in route-metric-default-effective "$devices"; then metric=$value; fi
        return 0
        ;;
    esac
  fi
  if taken_up; then manager=ifupdown; fi
  return 0
}

# Was a process started by NetworkManager? Such a client is its own affair.
started_by_nm() {
  while read -r key value; do
    case $key in
      PPid:)
        { read -r parent <"$root/proc/$value/comm"; } 2>/dev/null && [ "$parent" = NetworkManager ]
        return
        ;;
    esac
  done 2>/dev/null <"$1/status"
  return 1
}

# Finds the DHCP client that was started for the interface alone, and keeps its argument vector.
find_client() {
  for process in "$root"/proc/[0-9]*; do
    name=
    { read -r name <"$process/comm"; } 2>/dev/null || continue
    case $name in
      dhclient | udhcpc | dhcpcd) ;;
      *) continue ;;
    esac
    if started_by_nm "$process"; then continue; fi
    if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qxF -e "$interface"; then
      client="$name ${process##*/}"
      cat "$process/cmdline" >"$dir/client"
      return 0
    fi
  done
}

# Sets `standby_name` to the interface of the standby, which carries nothing yet: managers let go of it at once, as with
# its link it would get addresses of its own.
find_standby() {
  standby_name=
  for entry in "$root/sys/bus/pci/devices/$standby"/net/* "$root/sys/bus/pci/devices/$standby"/virtio*/net/*; do
    if [ -n "$standby" ] && [ -e "$entry" ]; then standby_name=${entry##*/}; fi
  done
}

# How the manager itself reports the interface; free of what changes by itself.
report() {
  case $manager in
    networkd)
      index_of "$interface"
      links=$root/run/systemd/netif/links/$index
      for key in ADMIN_STATE OPER_STATE NETWORK_FILE; do
        value_in "$key" "$links"
        # for a bond of ours the file may be another: that is told by a note
        if [ "$key" != NETWORK_FILE ] || [ -z "$bonded" ]; then say report "$key=$value"; fi
      done
      ;;
    NetworkManager)
      nmcli -g GENERAL.STATE,GENERAL.CONNECTION device show "$interface" 2>&1 |
        while IFS= read -r line; do say report "$line"; done
      ;;
    ifupdown)
      taken_up
      say report "ifstate=$value"
      if [ -n "$unit" ]; then say report "unit=$(systemctl is-active "$unit" 2>/dev/null)"; fi
      ;;
  esac
  if [ -n "$client" ]; then
    alive=
    for process in "$root"/proc/[0-9]*; do
      name=
      { read -r name <"$process/comm"; } 2>/dev/null || continue
      if [ "$name" = "${client%% *}" ] &&
        tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qxF -e "$interface"; then
        alive=1
      fi
    done
    say report "client=${alive:+running}"
  fi
}

# ---------------------------------------------------------------- systemd-networkd

# Marks devices for managers, from the next time that they appear or get a name: those that are there stay as they are.
mark_devices() {
  mkdir -p "${rules%/*}"
  for path in $pci $standby; do
    printf 'SUBSYSTEM=="net", ACTION=="add|move", KERNELS=="%s", ENV{SHADOWFERRY}="%s"%s\n' "$path" "$mark" "$1"
  done >"$rules"
  udevadm control --reload >/dev/null 2>&1 || say problem 'udev did not read its rules again'
}

# A .network file without its section [Match], with its drop-ins, in networkd's order of directories.
settings_of() {
  for part in "$1" \
    "$root/usr/lib/systemd/network/${1##*/}.d"/*.conf \
    "$root/run/systemd/network/${1##*/}.d"/*.conf \
    "$root/etc/systemd/network/${1##*/}.d"/*.conf; do
    [ -r "$part" ] || continue
    matching=
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in
        '[Match]'*) matching=1 ;;
        '['*) matching= ;;
      esac
      if [ -z "$matching" ]; then printf '%s\n' "$line"; fi
      line=
    done <"$part"
    printf '\n'
  done
}

# The server knows the client by what networkd made of the interface's first name: a bond of that name is another.
same_client() {
  if [ -n "$client_id" ]; then printf '[DHCPv4]\nIAID=0x%s\n' "$client_id"; fi
}

find_client_id() {
  value_in CLIENTID "$root/run/systemd/netif/leases/$index" || return 0
  case $value in
    ff????????*)
      id=${value#ff}
      client_id=${id%"${id#????????}"}
      ;;
  esac
}

# The file for the interface when it comes anew, of the networkd's own file: settings MATCH.
settings() {
  case $1 in
    device) printf '[Match]\nProperty=SHADOWFERRY=%s\n\n' "$mark" ;;
    bond) printf '[Match]\nName=%s\nKind=bond\n\n' "$interface" ;;
  esac
  settings_of "$root$network_file"
  if [ "$1" = bond ]; then
    # held, it has no carrier while its device is away: no reason to drop what it has
    printf '[Network]\nIgnoreCarrierLoss=yes\n'
  fi
  same_client
}

yield_networkd() {
  mkdir -p "$networks"
  chmod 755 "$root/run/systemd" "$networks"
  if value_in ADDRESS "$root/run/systemd/netif/leases/$index"; then leased=$value; fi
  find_client_id
  if [ -z "$bond" ]; then
    # the mark of this replay alone: the device that is there may have one of an earlier replay
    read -r mark rest <"$root/proc/uptime"
    mark=$tag-$mark
    {
      settings device
      printf '[Network]\nKeepConfiguration=yes\n'
    } >"$network"
  else
    mark=$tag-member
    printf '[Match]\nProperty=SHADOWFERRY=%s\n\n[Link]\nUnmanaged=yes\n' "$mark" >"$members"
    find_standby
    if [ -n "$standby_name" ]; then
      printf '[Match]\nName=%s\n\n[Link]\nUnmanaged=yes\n' "$standby_name" >"${members%.network}-standby.network"
    fi
    if [ ! -e "$root/sys/class/net/$interface/bonding" ]; then
      bonded=1
      {
        settings bond
        printf '[Network]\nKeepConfiguration=yes\n'
      } >"$network"
    elif [ -n "$leased" ]; then
      ip -4 -o address show dev "$interface" primary to "$leased" >"$dir/first" 2>/dev/null
      save_addresses
    fi
  fi
  mark_devices ''
  networkctl reload >/dev/null 2>&1 || say problem 'systemd-networkd did not read its files again'
}

# Waits until networkd says that the interface is configured, and sets `index`; fails when it takes too long.
await_networkd() {
  while in_time; do
    index_of "$interface"
    value=
    value_in ADMIN_STATE "$root/run/systemd/netif/links/$index"
    if [ "$value" = configured ]; then return 0; fi
    sleep 0.2 || sleep 1
  done
  say problem "systemd-networkd has not configured $interface"
  return 1
}

# Waits until networkd has begun anew, as far as can be seen, and has the address from the DHCP server again.
await_networkd_again() {
  tries=0
  while [ "$tries" -lt 10 ]; do
    tries=$((tries + 1))
    value=
    value_in ADMIN_STATE "$root/run/systemd/netif/links/$index"
    if [ "$value" != configured ]; then break; fi
    sleep 0.1 || sleep 1
  done
  await_networkd || return 1
  if [ -z "$leased" ]; then return 0; fi
  await_lease
}

# Waits until networkd has the address from the DHCP server.
await_lease() {
  while in_time; do
    if value_in ADDRESS "$root/run/systemd/netif/leases/$index"; then
      if [ "$value" != "$leased" ]; then
        say problem "the DHCP server gave $value in place of $leased"
        return 0 # what there was beside it comes back all the same
      fi
      # kept over the replay it would last for ever; its own has an end
      if [ -n "$(ip -4 -o address show dev "$interface" dynamic to "$leased" 2>/dev/null)" ]; then return 0; fi
    fi
    sleep 0.2 || sleep 1
  done
  say problem "systemd-networkd has not got $leased again"
}

# What an administrator added by hand a manager takes away when it is given the interface: kept over that moment.
# Addresses that end by themselves are the manager's own, and so is the one from the DHCP server.
save_addresses() {
  for family in 4 6; do
    ip -"$family" -o address show dev "$interface" permanent >"$dir/addresses.$family" 2>/dev/null
    # not the kernel's, which come with the addresses, nor the manager's from its DHCP client
    for origin in boot static; do
      ip -"$family" route save table all dev "$interface" proto "$origin" >"$dir/routes.$family.$origin" 2>/dev/null
    done
  done
}

# Adds one address again, of which this is a line of `ip -o address`: restore_address FAMILY WORD…
restore_address() {
  family=$1
  local=${5-}
  shift 5 || return 0
  case $local in
    "$leased/"* | fe80:*) return 0 ;;
  esac
  words=
  label=
  while [ $# -gt 0 ]; do
    case $1 in
      peer | metric | brd | scope)
        words="$words $1 ${2-}"
        shift
        ;;
      noprefixroute | home | mngtmpaddr) words="$words $1" ;;
      valid_lft) break ;;
      secondary | dynamic | deprecated | tentative | permanent | temporary | stable-privacy | proto | kernel*) ;;
      "$interface"*) label=$1 ;;
    esac
    shift
  done
  label=${label%\\}
  if [ "$family" = 6 ]; then words="$words nodad"; fi
  # shellcheck disable=SC2086 # words of ip's own
  ip -"$family" address add "$local" $words dev "$interface" ${label:+label "$label"} >/dev/null 2>&1
}

restore_addresses() {
  set -f # words of ip, none of them a pattern
  for family in 4 6; do
    while IFS= read -r line; do
      # shellcheck disable=SC2086 # words of ip's own
      restore_address "$family" $line
    done <"$dir/addresses.$family"
    for origin in boot static; do
      ip -"$family" route restore <"$dir/routes.$family.$origin" >/dev/null 2>&1
    done
  done
  set +f
}

# The first address of a network is the one that the kernel uses. Those that were added by hand came after the one from
# the DHCP server, and come after it again.
restore_order() {
  if [ -n "$(ip -4 -o address show dev "$interface" primary to "$leased" 2>/dev/null)" ]; then return 0; fi
  promoted=
  { read -r promoted <"$root/proc/sys/net/ipv4/conf/$interface/promote_secondaries"; } 2>/dev/null
  if [ "$promoted" != 1 ]; then
    say problem "$leased came back after the addresses that were added by hand, which are the first now"
    return 0
  fi
  set -f # words of ip, none of them a pattern
  while read -r _ _ _ local _; do
    case $local in
      "$leased/"*) ;;
      *) ip -4 address delete "$local" dev "$interface" >/dev/null 2>&1 ;;
    esac
  done <"$dir/addresses.4"
  set +f
  restore_addresses
}

giveback_networkd() {
  await_networkd || return 0
  if [ -n "$bond" ] && [ -z "$bonded" ]; then
    # it was a bond before; the kernel gives one without members another MAC for a moment, and networkd begins anew
    if [ -s "$dir/first" ] && await_lease; then restore_order; fi
    return 0
  fi
  save_addresses
  if [ -z "$bond" ]; then
    rm -f "$network" "$rules"
  else
    settings bond >"$network"
    say note "$interface is a bond now: until the next boot systemd-networkd configures it by ${network#"$root"}"
  fi
  networkctl reload >/dev/null 2>&1 || say problem 'systemd-networkd did not read its files again'
  await_networkd_again
  restore_addresses
}

# ---------------------------------------------------------------- ifupdown, and DHCP clients of its kind

yield_ifupdown() {
  if [ -d "$root/run/systemd/system" ]; then
    # it would be stopped with the device, and ifdown would take the state of whatever has the name then
    unit=$(systemd-escape --template ifup@.service "$interface" 2>/dev/null)
    if [ -n "$unit" ] && systemctl --quiet is-active "$unit"; then
      if systemctl --quiet --runtime mask "$unit" >/dev/null 2>&1; then masked=1; else say problem "$unit was not masked"; fi
    else
      unit=
    fi
  elif [ -d "$root/run/udev" ]; then
    mkdir -p "$root/run/udev/rules.d"
    : >"$root/run/udev/rules.d/80-ifupdown.rules" # in place of the packaged one, which runs ifup and ifdown
    udevadm control --reload >/dev/null 2>&1
    masked=1
  fi
}

giveback_ifupdown() {
  if [ -z "$masked" ]; then return 0; fi
  if [ -n "$unit" ]; then
    # bound to a device that systemd does not know yet, it would be stopped at once
    device_unit=$(systemd-escape --path --suffix=device "/sys/subsystem/net/devices/$interface" 2>/dev/null)
    until systemctl --quiet is-active "$device_unit" || ! in_time; do sleep 0.2 || sleep 1; done
    systemctl --quiet --runtime unmask "$unit" >/dev/null 2>&1 || say problem "$unit is still masked"
  else
    rm -f "$root/run/udev/rules.d/80-ifupdown.rules"
    udevadm control --reload >/dev/null 2>&1
  fi
}

yield_client() {
  case $client in
    # its socket is bound to the interface that goes. Killed, it gives no lease back and runs no script
    'dhclient '*) kill -s KILL "${client#* }" 2>/dev/null ;;
    # it looks its interface up at each word to the server, and ends when there is none: it has to wait
    'udhcpc '*) kill -s STOP "${client#* }" 2>/dev/null ;;
    # it looks its interface up again by itself
    *) ;;
  esac
}

# Prints what AppArmor or SELinux refused a program after a moment, where the kernel's log has it: refused NAME UPTIME
refused() {
  dmesg 2>/dev/null | awk -v who="comm=\"$1\"" -v from="$2" '
    index($0, who) && (/apparmor="DENIED"/ || /avc: +denied/) {
      split($0, part, /[][]/)
      if (part[2] + 0 < from + 0) next
      sub(/^[^a]*(audit:.*: )?/, "")
      last = $0
    }
    END { if (last != "") printf " (%s)", substr(last, 1, 200) }' 2>/dev/null
}

# Prints the line of a program's words that says why it failed: reason WORDS
reason() {
  printf '%s\n' "$1" | grep -i -m 1 -e denied -e error -e fail -e cannot -e "can't" -e 'not ' || echo 'it does not say why'
}

# Started with its file of leases it asks for the address that it had (INIT-REBOOT), and has it all the while.
giveback_client() {
  case $client in
    'dhclient '*) ;;
    'udhcpc '*)
      kill -s CONT "${client#* }" 2>/dev/null || say problem "the DHCP client udhcpc has ended"
      return 0
      ;;
    *) return 0 ;;
  esac
  # where its lease has ended meanwhile, it begins by taking all addresses away
  save_addresses
  set --
  while IFS= read -r word; do set -- "$@" "$word"; done <<EOT
$(tr '\0' '\n' <"$dir/client")
EOT
  timeout=
  if command -v timeout >/dev/null 2>&1; then timeout='timeout 60'; fi
  read -r started rest <"$root/proc/uptime"
  # a pipe, as its profile may deny it a file of ours
  # shellcheck disable=SC2086 # words
  said=$({
    $timeout "$@" </dev/null 2>&1
    printf 'code %s' "$?"
  } | $timeout cat)
  case $said in
    *'code 0') ;;
    *) say problem "the DHCP client ${1##*/} did not start again: $(reason "$said")$(refused "${1##*/}" "$started")" ;;
  esac
  restore_addresses
}

# ---------------------------------------------------------------- NetworkManager

nm_profiles=$root/run/NetworkManager/system-connections
nm_bond=$nm_profiles/shadowferry-$tag.nmconnection

yield_nm() {
  if [ -n "$bond" ]; then
    if [ ! -e "$root/sys/class/net/$interface/bonding" ]; then
      bonded=1
    elif [ ! -e "$nm_bond" ]; then
      return 0 # a bond of the user's own, whose members NetworkManager knows
    fi
  fi
  mark=$tag
  mark_devices ', ENV{NM_UNMANAGED}="1"'
  find_standby
  if [ -n "$standby_name" ] && [ -n "$bonded" ]; then nmcli device set "$standby_name" managed no >/dev/null 2>&1; fi
}

# Sets `value` to the file of the profile with a uuid.
profile_file() {
  for value in "$root"/run/NetworkManager/system-connections/* "$root"/etc/NetworkManager/system-connections/* \
    "$root"/usr/lib/NetworkManager/system-connections/*; do
    if [ -r "$value" ] && grep -qxF -e "uuid=$profile" "$value"; then return 0; fi
  done
  return 1
}

# A profile is of one type: one for the bond, with the settings of the device's own above layer 2: bond_profile UUID FILE
bond_profile() {
  printf '[connection]\nid=%s\nuuid=%s\ntype=bond\ninterface-name=%s\n\n[bond]\n' "$profile_id" "$1" "$interface"
  for option in mode miimon fail_over_mac; do
    { read -r value rest <"$root/sys/class/net/$interface/bonding/$option"; } 2>/dev/null && printf '%s=%s\n' "$option" "$value"
  done
  copying=
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      '[ipv4]'* | '[ipv6]'* | '[proxy]'*) copying=1 ;;
      '['*) copying= ;;
    esac
    if [ -n "$copying" ]; then printf '%s\n' "$line"; fi
    case $line in
      # a bond's routes would have the metric of bonds; one that the profile gives comes later and wins
      '[ipv4]'* | '[ipv6]'*) if [ -n "$metric" ]; then printf 'route-metric=%s\n' "$metric"; fi ;;
    esac
    line=
  done <"$2"
}

member_profile() {
  printf '[connection]\nid=%s (%s)\nuuid=%s\ntype=ethernet\ninterface-name=%s\nmaster=%s\nslave-type=bond\n' \
    "$profile_id" "$1" "$2" "$1" "$uuid"
}

# What NetworkManager remembers of an interface while it does not run: remember INTERFACE UUID
remember() {
  { read -r its_index <"$root/sys/class/net/$1/ifindex"; } 2>/dev/null || return 0
  printf '[device]\nmanaged=true\nconnection-uuid=%s\n' "$2" >"$root/run/NetworkManager/devices/$its_index"
}

new_uuid() {
  read -r value <"$root/proc/sys/kernel/random/uuid"
}

# NetworkManager sees a bond that somebody made, and a profile that fits no device any more. To take a profile up is to
# begin anew, without members and addresses. To start is to go on: NetworkManager takes what it finds for what its
# record says, as after an update of itself. So it is started again, with profiles for the bond and its members.
giveback_nm_bond() {
  if [ -z "$mark" ]; then return 0; fi
  profile_id=$interface
  if [ -n "$bonded" ]; then
    if ! profile_file; then
      say problem "NetworkManager's profile $profile is in no file: $interface is left to itself"
      return 0
    fi
    old=$value
    if value_in id "$old"; then profile_id=$value; fi
    new_uuid
    uuid=$value
    mkdir -p "$nm_profiles"
    (umask 077 && bond_profile "$uuid" "$old" >"$nm_bond")
    say note "$interface is a bond now: until the next boot NetworkManager has a profile for it, ${nm_bond#"$root"}"
  else
    if value_in id "$nm_bond"; then profile_id=$value; fi
    value_in uuid "$nm_bond"
    uuid=$value
  fi
  save_addresses
  if ! systemctl stop NetworkManager.service >/dev/null 2>"$dir/error"; then
    say problem "NetworkManager did not stop: $(cat "$dir/error")"
    return 0
  fi
  rm -f "$rules" "$nm_profiles/shadowferry-$tag-member-"*
  udevadm control --reload >/dev/null 2>&1
  remember "$interface" "$uuid"
  number=0
  for lower in "$root/sys/class/net/$interface"/lower_*; do
    member=${lower##*/lower_}
    number=$((number + 1))
    new_uuid
    (umask 077 && member_profile "$member" "$value" >"$nm_profiles/shadowferry-$tag-member-$number.nmconnection")
    remember "$member" "$value"
    udevadm trigger --settle --action=change "/sys/class/net/$member" >/dev/null 2>&1
  done
  systemctl start NetworkManager.service >/dev/null 2>"$dir/error" ||
    say problem "NetworkManager did not start: $(cat "$dir/error")"
  await_nm
  restore_addresses
}

# Waits until NetworkManager says that the interface is connected; fails when it takes too long.
await_nm() {
  while in_time; do
    case $(nmcli -g GENERAL.STATE device show "$interface" 2>/dev/null) in
      100*) return 0 ;;
    esac
    sleep 0.5 || sleep 1
  done
  say problem "NetworkManager has not connected $interface"
  return 1
}

take_up() {
  in_time || return 0
  nmcli --wait "$((limit - now))" connection up uuid "$profile" ifname "$interface" >/dev/null 2>"$dir/error" ||
    say problem "NetworkManager did not take $interface: $(cat "$dir/error")"
  await_nm
}

giveback_nm() {
  if [ -n "$bond" ]; then
    giveback_nm_bond
    return 0
  fi
  save_addresses
  rm -f "$rules"
  udevadm control --reload >/dev/null 2>&1
  udevadm trigger --settle --action=change "/sys/class/net/$interface" >/dev/null 2>&1
  nmcli device set "$interface" managed yes >/dev/null 2>&1
  if [ -z "$profile" ]; then
    await_nm
  elif [ "$(nmcli -g connection.autoconnect connection show uuid "$profile" 2>/dev/null)" = no ]; then
    take_up
  elif await_nm && [ "$(nmcli -g GENERAL.CON-UUID device show "$interface" 2>/dev/null)" != "$profile" ]; then
    take_up # it took another by itself
  fi
  restore_addresses
}

# ---------------------------------------------------------------- the two halves

yield_interface() {
  find_manager
  find_client
  say manager "$manager"
  if [ -n "$client" ]; then say client "${client%% *}"; fi
  keep_state # what follows may be cut off
  case $manager in
    networkd) yield_networkd ;;
    NetworkManager) yield_nm ;;
    ifupdown) yield_ifupdown ;;
  esac
  keep_state
  report
  yield_client
}

giveback() {
  case $manager in
    networkd) giveback_networkd ;;
    NetworkManager) giveback_nm ;;
    ifupdown) giveback_ifupdown ;;
  esac
  giveback_client
  say manager "$manager"
  report
}

case ${2-} in
  yield) yield_interface ;;
  giveback)
    # the program in the guest and a host may both ask: one does it, the other waits for its words
    if mkdir "$dir/returning" 2>/dev/null; then
      # shellcheck source=/dev/null
      if [ -r "$dir/state" ]; then . "$dir/state"; fi
      giveback >"$dir/returned.new" 2>&1
      mv "$dir/returned.new" "$dir/returned"
    else
      PATIENCE=$((PATIENCE + 10)) # the other one began earlier, and says what it could not do
      # nor where all is over and taken away already
      until [ -e "$dir/returned" ] || ! [ -d "$dir/returning" ] || ! in_time; do sleep 0.2 || sleep 1; done
    fi
    cat "$dir/returned" 2>/dev/null || say problem 'giving the interface back was not finished'
    ;;
  *)
    echo 'usage: manager.sh DIR yield|giveback' >&2
    exit 2
    ;;
esac
