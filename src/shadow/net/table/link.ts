/** The link and its shadow interface. */
import { type AttributeGroup, group } from './row.ts';

export const LINK: AttributeGroup = group({
  title: 'The interface',
  intro:
    'Of the interface that carries the addresses: the shadow interface where there is one, else the direct device. In `hold` and `bridge` a shadow interface outlives the device, and nothing of this group is touched after it was made.',
  shared: { read: '`ip -d address`', replay: '`ip link set`', adapted: '—', lost: '—' },
  rows: [
    {
      attribute: 'link.name',
      what: 'name',
      replay: 'the new device is renamed before anything else; udev is told the same name',
      lost: 'another interface has taken the name',
    },
    {
      attribute: 'link.ifindex',
      what: 'index',
      replay: 'kept by a shadow interface',
      lost: 'in `replay`, and when a shadow interface is first made: what binds to an index is listed as dependent',
    },
    {
      attribute: 'link.mac',
      what: 'MAC address in use',
      lost: 'the driver refuses another MAC than its own',
    },
    {
      attribute: 'link.mtu',
      what: 'MTU',
      adapted: 'the largest that the new device takes',
    },
    { attribute: 'link.txqueuelen', what: 'length of the transmit queue' },
    {
      attribute: 'link.alias',
      what: 'free text',
      read: '`ip -d address`; control characters are escaped in reports only',
    },
    { attribute: 'link.up', what: 'administratively up' },
    {
      attribute: 'link.promisc',
      what: 'promiscuous by the administrator',
      read: '`flags` in sysfs: the user’s flag, not the kernel’s count',
    },
    { attribute: 'link.allmulti', what: 'takes all multicast' },
    { attribute: 'link.multicast', what: 'multicast enabled' },
    { attribute: 'link.arp', what: 'ARP enabled' },
    { attribute: 'link.group', what: 'group' },
    {
      attribute: 'link.ipv6Token',
      what: 'token of IPv6 autoconfiguration',
      read: '`ip token`',
      replay: '`ip token set`',
    },
    {
      attribute: 'link.addrGenMode',
      what: 'how IPv6 interface identifiers are made',
      replay: 'the sysctl `addr_gen_mode`, or `ip link set addrgenmode`',
    },
    {
      attribute: 'link.altnames',
      what: 'further names',
      replay: '`ip link property add`',
      lost: 'another interface has taken the name',
    },
    {
      attribute: 'link.master',
      what: 'the bridge or VRF that it belongs to',
      replay: '`ip link set master`, before addresses',
      lost: 'that master has gone, or does not take the new device',
    },
    {
      attribute: 'link.xdp',
      what: 'XDP programs with mode, number, name and tag',
      read: '`ip -d link`; the file that keeps each: `bpftool -f prog`',
      replay: '`ip link set xdp pinned FILE`, before the device is up',
      adapted:
        'run by the kernel (generic), where the new driver cannot run it, and on a shadow interface always',
      lost: 'no file below /sys/fs/bpf keeps it, or the guest has no bpftool to tell which',
    },
    {
      attribute: 'lower.*',
      what: 'settings of the direct device below a shadow interface (MTU, queue length, alias, promiscuity)',
      adapted: 'MTU: the largest that the new device takes',
    },
    {
      attribute: 'bond.*',
      what: 'options of a shadow interface that is a bond',
      read: '`/sys/class/net/DEV/bonding`',
      replay: 'kept by the bond itself',
      lost: 'the bond was dissolved',
    },
  ],
});
