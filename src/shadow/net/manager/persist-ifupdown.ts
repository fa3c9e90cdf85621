/** A shadow interface for ifupdown. Pure. */
import { assignments } from '../compile.ts';
import { type Bond, file, header, type Paths, type PersistFile } from './persist-model.ts';

/** Run by ifup before it configures any interface, so that the administrator's stanza stays where and as it is. */
const HOOK = `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
[ "\${IFACE-}" = "$interface" ] || exit 0
[ ! -e "/sys/class/net/$interface/bonding" ] || exit 0

# iproute2's, by its path: some busybox shells take their own applet for a plain ip, which knows a tenth of it
ip_path=ip
for found in /usr/sbin/ip /sbin/ip /usr/bin/ip /bin/ip /usr/local/sbin/ip /usr/local/bin/ip; do
  if [ -x "$found" ]; then
    ip_path=$found
    break
  fi
done
ip() {
  "$ip_path" "$@"
}

# Sets name to the interface of a PCI device with a MAC: find PCI MAC
find() {
  for entry in "/sys/bus/pci/devices/$1"/net/* "/sys/bus/pci/devices/$1"/virtio*/net/*; do
    if [ ! -e "$entry" ] || ! read -r address <"$entry/address" || [ "$address" != "$2" ]; then continue; fi
    name=\${entry##*/}
    return 0
  done
  name=
  return 1
}

# Gives the device that find has found a name, or, where another has it, any but that of the bond: call WANTED
call() {
  ip link set dev "$name" down
  for wanted in "$1" "sf-$name" sf0 sf1 sf2 sf3; do
    if [ "$name" = "$wanted" ]; then return 0; fi
    if ip link set dev "$name" name "$wanted" 2>/dev/null; then
      name=$wanted
      return 0
    fi
    if [ "$name" != "$interface" ]; then return 0; fi
  done
  echo "shadowferry: $name could not be given another name" >&2
}

tries=0
until find "$direct" "$direct_mac"; do
  tries=$((tries + 1))
  if [ "$tries" -gt 50 ]; then
    echo "shadowferry: there is no device $direct_mac at $direct" >&2
    break
  fi
  sleep 0.2 || sleep 1
done
# the kernel may have given the standby the bond's name, or the name that the device is to have
if [ -n "$standby" ] && find "$standby" "$standby_mac"; then call "$standby_name"; fi
if find "$direct" "$direct_mac"; then
  call "$device"
  # a udev that knows nothing of our .link file gives it to the device as another name
  ip link property del dev "$name" altname "$interface" 2>/dev/null
fi
device=$name
# by itself it would make an interface bond0
if [ ! -e /sys/class/net/bonding_masters ]; then modprobe bonding max_bonds=0 2>/dev/null; fi
# shellcheck disable=SC2086 # words
if ! ip link add name "$interface" address "$mac" mtu "$mtu" type bond $options; then
  # better the bare device than none
  if [ -n "$device" ]; then ip link set dev "$device" name "$interface"; fi
  exit 0
fi
if [ -n "$device" ]; then
  ip link set dev "$device" master "$interface"
  echo "$device" >"/sys/class/net/$interface/bonding/primary"
fi
if [ -n "$standby" ] && find "$standby" "$standby_mac"; then ip link set dev "$name" master "$interface"; fi
exit 0
`;

/** Do the files of ifupdown have an interface taken up at boot? */
export function isAuto(lines: readonly string[], name: string): boolean {
  return lines.some((line) => {
    const [word, ...names] = line.trim().split(/\s+/);
    return word === 'auto' && names.includes(name);
  });
}

/**
 * A step of ifup that makes the bond, and, where nothing has it taken up at boot, the word for that.
 * @param interfaces lines of the files of ifupdown
 */
export function ifupdownFiles(paths: Paths, bond: Bond, interfaces: readonly string[]): PersistFile[] {
  const values = assignments({
    interface: bond.interface,
    mac: bond.mac,
    mtu: String(bond.mtu),
    direct: bond.direct.pciPath,
    direct_mac: bond.direct.mac,
    device: bond.direct.name,
    standby: bond.standby?.pciPath ?? '',
    standby_mac: bond.standby?.mac ?? '',
    standby_name: bond.standby?.name ?? '',
    options: Object.entries(bond.options)
      // the one that ip calls otherwise than the kernel and NetworkManager
      .map(([name, value]) => `${name === 'peer_notif_delay' ? 'peer_notify_delay' : name} ${value}`)
      .join(' '),
  });
  const what = `the shadow interface ${bond.interface}`;
  return [
    file(paths.hook, `#!/bin/sh\n${header(`${what}, before ifup configures it`)}${values}${HOOK}`, '755'),
    // nothing plugs a bond in: its own stanza may wait for that
    ...(isAuto(interfaces, bond.interface)
      ? []
      : [file(paths.interfaces, `${header(what)}auto ${bond.interface}\n`)]),
  ];
}
