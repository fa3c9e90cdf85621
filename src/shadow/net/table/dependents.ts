/** What is bound to an interface's index, and is no part of it. */
import { type AttributeGroup, group } from './row.ts';

export const DEPENDENTS: AttributeGroup = group({
  title: 'What depends on the interface',
  intro:
    'Bound to the index of the interface or of one that stands on it. The index stays on a shadow interface that is there already, and all of this with it; it is another after `replay`, and once when the shadow interface is made or given up. What is lost then is told by name, with the program that holds it, before anything moves. iptables and nftables’ `iifname` go by name and need nothing. A program that closes its own socket meanwhile loses nothing.',
  shared: {
    read: '`ss -a -p -A inet,packet`',
    replay: 'not: only its program can',
    adapted: '—',
    lost: 'the index is another',
  },
  rows: [
    {
      attribute: 'dependent.socket.*',
      what: 'sockets bound to the interface (SO_BINDTODEVICE), and connections by link-local addresses',
    },
    { attribute: 'dependent.packet-socket.*', what: 'packet sockets: DHCP clients, LLDP, captures' },
    {
      attribute: 'dependent.multicast.*',
      what: 'groups that programs joined',
      read: '`ip maddress`, without the groups of the kernel and of VXLANs',
    },
    {
      attribute: 'dependent.upper.*',
      what: 'interfaces of other network namespaces that stand on the interface: macvlan, ipvlan and VLAN of containers',
      read: '`ip -d link` in each other network namespace of a process, or with a name',
      replay: 'not: they are ended with the interface, and what is in that namespace is not ours',
    },
    {
      attribute: 'dependent.firewall.*',
      what: 'nftables: rules with `iif` and `oif`, sets of interfaces, chains and flowtables that hook the device',
      read: '`nft -a list ruleset`',
      replay:
        '`nft replace rule`, `add element`, `add flowtable`, `add chain` with its rules, in nft’s own words',
      lost: 'maps and concatenations of interfaces, and chains that hook several devices, cannot be put back exactly',
    },
  ],
});
