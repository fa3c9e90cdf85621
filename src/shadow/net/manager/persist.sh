#!/bin/sh
# What a guest finds after its next boot: reads what its network manager says now, and puts files below /etc. Functions
# only; the host adds the calls (persist.ts). Runs under dash, busybox ash and bash.

set -u
PATH=${SHADOWFERRY_TOOLS:+$SHADOWFERRY_TOOLS:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
unset CDPATH
umask 022

root=${SHADOWFERRY_ROOT-} # tests put a made-up tree here
OURS='# Written by Shadowferry'
MOST_LINES=500
failed=''

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

# Tells the lines of a file: tell KEY FILE.
tell() {
  told=0
  while IFS= read -r line || [ -n "$line" ]; do
    told=$((told + 1))
    if [ "$told" -gt "$MOST_LINES" ]; then
      say problem "${2#"$root"} has more than $MOST_LINES lines"
      return 0
    fi
    say "$1" "$line"
    line=
  done <"$2"
}

# Sets `index` to an interface's number.
index_of() {
  index=
  { read -r index <"$root/sys/class/net/$1/ifindex"; } 2>/dev/null
}

# Sets `name` to the interface of a PCI device that has a MAC: name_at PCI MAC. A device may have several.
name_at() {
  name=
  for entry in "$root/sys/bus/pci/devices/$1"/net/* "$root/sys/bus/pci/devices/$1"/virtio*/net/*; do
    [ -e "$entry" ] || continue
    { read -r address <"$entry/address"; } 2>/dev/null || continue
    if [ "$address" = "$2" ]; then
      name=${entry##*/}
      return 0
    fi
  done
  return 1
}

# The MAC that a device is born with, where it has another one now: permanent KEY PCI MAC
permanent() {
  [ -n "$2" ] && name_at "$2" "$3" || return 0
  shown=$(ip -o link show dev "$name" 2>/dev/null)
  case $shown in
    *' permaddr '*)
      shown=${shown##* permaddr }
      say "$1" "${shown%%[!0-9a-f:]*}"
      ;;
  esac
}

# The file by which networkd configures an interface: network_of KEY NAME. Fails when it does not.
network_of() {
  index_of "$2" && [ -n "$index" ] || return 1
  links=$root/run/systemd/netif/links/$index
  [ -r "$links" ] && value_in NETWORK_FILE "$links" && [ -r "$root$value" ] || return 1
  say "$1-path" "$value"
  tell "$1" "$root$value"
}

# The settings that udev would have for a device, with their drop-ins: link_of NAME. What it noted of the device may be
# of a file that the replay had below /run. Asked about a change, it applies nothing.
link_of() {
  value=$(udevadm test-builtin --action=change net_setup_link "/sys/class/net/$1" 2>/dev/null |
    sed -n 's/^\(E: *\)\{0,1\}ID_NET_LINK_FILE=//p')
  [ -n "$value" ] && [ -r "$root$value" ] || return 0
  say link-path "$value"
  for part in "$root$value" \
    "$root/usr/lib/systemd/network/${value##*/}.d"/*.conf \
    "$root/run/systemd/network/${value##*/}.d"/*.conf \
    "$root/etc/systemd/network/${value##*/}.d"/*.conf; do
    if [ -r "$part" ]; then tell link "$part"; fi
  done
}

# What is there: facts INTERFACE MAC PCI STANDBY-PCI MEMBER. A bond's members have its MAC.
facts() {
  if [ -d "$root/run/udev" ]; then say udev 1; fi
  if [ -d "$root/run/systemd/system" ]; then say systemd 1; fi
  permanent direct-mac "$3" "$2"
  permanent standby-mac "$4" "$2"
  network_of network "$1"
  if [ -n "$5" ]; then
    network_of member "$5"
    link_of "$5"
  fi
  if index_of "$1" && [ -n "$index" ]; then
    devices=$root/run/NetworkManager/devices/$index
    if [ -r "$devices" ] && value_in connection-uuid "$devices" && [ -n "$value" ]; then
      uuid=$value
      for file in "$root"/run/NetworkManager/system-connections/* \
        "$root"/etc/NetworkManager/system-connections/* "$root"/usr/lib/NetworkManager/system-connections/*; do
        if [ -r "$file" ] && grep -qxF -e "uuid=$uuid" "$file"; then
          say profile-path "${file#"$root"}"
          tell profile "$file"
          break
        fi
      done
    fi
    # a profile that it keeps in memory alone, or none: it has the interface all the same
    if [ -r "$devices" ] && value_in managed "$devices"; then say networkmanager "$value"; fi
  fi
  # Debian's, and that of busybox and of Alpine
  if value_in "$1" "$root/run/network/ifstate" || value_in "$1" "$root/run/ifstate"; then
    say ifupdown 1
    for file in "$root"/etc/network/interfaces "$root"/etc/network/interfaces.d/*; do
      if [ -r "$file" ] && ! is_ours "$file"; then tell interfaces "$file"; fi
    done
  fi
  say end 1
}

# Does a file begin with our words? A script has them in its second line.
is_ours() {
  number=0
  while [ "$number" -lt 2 ] && IFS= read -r line; do
    number=$((number + 1))
    case $line in "$OURS"*) return 0 ;; esac
  done 2>/dev/null <"$1"
  return 1
}

# Sets what belongs to a path. Names with a dot in front are read by nobody.
places() {
  target=$root$1
  folder=${target%/*}
  kept=$folder/.${target##*/}.before-shadowferry
  fresh=$folder/.${target##*/}.new-shadowferry
}

# Refuses all of it when a file is there that is not ours: check PATH
check() {
  places "$1"
  if [ -e "$target" ] || [ -L "$target" ]; then
    if [ -L "$target" ] || ! is_ours "$target"; then
      say problem "$1 is there already, and is not ours"
      failed=1
    fi
  fi
}

# Keeps what is there; an empty file stands for none: keep PATH [written], where it will be written
keep() {
  if [ -n "$failed" ]; then return 0; fi
  places "$1"
  if [ $# = 1 ]; then
    [ -e "$target" ] && is_ours "$target" || return 0
  fi
  if mkdir -p "$folder" 2>/dev/null && { : >"$kept"; } 2>/dev/null; then
    if [ ! -e "$target" ] || cp -p "$target" "$kept" 2>/dev/null; then return 0; fi
  fi
  rm -f "$kept"
  say problem "$1 was not written"
  failed=1
}

# Writes a file: put PATH MODE TEXT
put() {
  if [ -n "$failed" ]; then return 0; fi
  places "$1"
  if mkdir -p "$folder" 2>/dev/null && (umask 077 && printf %s "$3" >"$fresh") 2>/dev/null &&
    chmod "$2" "$fresh" && mv -f "$fresh" "$target"; then
    say file "$1"
  else
    rm -f "$fresh"
    say problem "$1 was not written"
    failed=1
  fi
}

# Removes what an earlier time has written: drop PATH
drop() {
  if [ -n "$failed" ]; then return 0; fi
  places "$1"
  if [ -e "$target" ] && is_ours "$target"; then rm -f "$target"; fi
}

# All of it or nothing: finish PATH…
finish() {
  if [ -n "$failed" ]; then
    if any_kept "$@"; then restore "$@"; fi
    return 0
  fi
  for path; do
    places "$path"
    rm -f "$kept"
  done
}

any_kept() {
  for path; do
    places "$path"
    if [ -e "$kept" ]; then return 0; fi
  done
  return 1
}

# Takes back what was written, and what was there before comes again: restore PATH…
restore() {
  if ! any_kept "$@"; then
    forget "$@"
    return 0
  fi
  for path; do
    places "$path"
    rm -f "$fresh"
    if [ -s "$kept" ]; then
      mv -f "$kept" "$target"
    elif [ -e "$kept" ]; then
      forget "$path"
    fi
  done
}

# Removes what is ours: forget PATH…
forget() {
  for path; do
    places "$path"
    if [ -f "$target" ] && is_ours "$target"; then
      rm -f "$target"
      say removed "$path"
    fi
    rm -f "$kept" "$fresh"
    # made for our file alone
    case $folder in *.service.d) rmdir "$folder" 2>/dev/null ;; esac
  done
}
