/** A shadow interface for ifupdown. Pure. */
import { assignments } from '../compile.ts';
import { type Bond, file, header, type Paths, type PersistFile } from './persist-model.ts';

/** Run by ifup before it configures any interface, so that the administrator's stanza stays where and as it is. */
const HOOK = `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
[ "\${IFACE-}" = "$interface" ] || exit 0
[ ! -e "/sys/class/net/$interface/bonding" ] || exit 0

# Sets name to the interface of a PCI device with a MAC: find PCI MAC
find() {
  for entry in "/sys/bus/pci/devices/$1"/net/* "/sys/bus/pci/devices/$1"/virtio*/net/*; do
    if [ ! -e "$entry" ] || ! read -r address <"$entry/address" || [ "$address" != "$2" ]; then continue; fi
    name=\${entry##*/}
    return 0
  done
  return 1
}

tries=0
until find "$direct" "$direct_mac"; do
  tries=$((tries + 1))
  if [ "$tries" -gt 50 ]; then
    echo "shadowferry: there is no device $direct_mac at $direct" >&2
    name=
    break
  fi
  sleep 0.2 || sleep 1
done
if [ -n "$name" ]; then
  ip link set dev "$name" down
  if [ "$name" != "$device" ]; then ip link set dev "$name" name "$device"; fi || exit 1
fi
# shellcheck disable=SC2086 # words
# a udev that knows nothing of our .link file gives it to the device as another name
if [ -n "$name" ]; then ip link property del dev "$device" altname "$interface" 2>/dev/null; fi
if ! ip link add name "$interface" address "$mac" mtu "$mtu" type bond $options; then
  # better the bare device than none
  if [ -n "$name" ]; then ip link set dev "$device" name "$interface"; fi
  exit 0
fi
if [ -n "$name" ]; then ip link set dev "$device" master "$interface"; fi
echo "$device" >"/sys/class/net/$interface/bonding/primary"
if [ -n "$standby" ] && find "$standby" "$standby_mac"; then
  ip link set dev "$name" down
  ip link set dev "$name" master "$interface"
fi
exit 0
`;

/** A step of ifup that makes the bond, and the word that has ifup take it up at boot. */
export function ifupdownFiles(paths: Paths, bond: Bond): PersistFile[] {
  const values = assignments({
    interface: bond.interface,
    mac: bond.mac,
    mtu: String(bond.mtu),
    direct: bond.direct.pciPath,
    direct_mac: bond.direct.mac,
    device: bond.direct.name,
    standby: bond.standby?.pciPath ?? '',
    standby_mac: bond.standby?.mac ?? '',
    options: Object.entries(bond.options)
      // the one that ip calls otherwise than the kernel and NetworkManager
      .map(([name, value]) => `${name === 'peer_notif_delay' ? 'peer_notify_delay' : name} ${value}`)
      .join(' '),
  });
  const what = `the shadow interface ${bond.interface}`;
  return [
    file(paths.hook, `#!/bin/sh\n${header(`${what}, before ifup configures it`)}${values}${HOOK}`, '755'),
    // nothing plugs a bond in: its own stanza may wait for that
    file(paths.interfaces, `${header(what)}auto ${bond.interface}\n`),
  ];
}
