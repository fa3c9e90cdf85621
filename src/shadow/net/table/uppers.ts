/** What stands on the interface, and nexthop objects. */
import { type AttributeGroup, group } from './row.ts';

export const UPPERS: AttributeGroup = group({
  title: 'What stands on the interface',
  intro:
    'VLAN, macvlan, macvtap, ipvlan, ipvtap and VXLAN interfaces go with the interface that they stand on, at whatever height; tunnels (gre, gretap, ip6gre, ipip, sit, ip6tnl, vti, …) stay, bound to nobody. `upper.NAME/KEY` is the attribute KEY of the interface NAME, of all the kinds above but the driver’s. On a shadow interface that is there already nothing of it is touched. WireGuard and geneve are bound by routes only, and come back with those.',
  shared: {
    read: 'as the interface’s own',
    replay: 'as the interface’s own, after it is made again',
    adapted: 'MTU: the largest one of the device below',
    lost: 'the index, where the interface is made again; all of it, where it cannot be',
  },
  rows: [
    {
      attribute: 'upper.*/kind',
      what: 'that it is there, of its kind, with what is peculiar to that',
      read: '`ip -j -d address`',
      replay: '`ip link add … type KIND …`, those below first; tunnels: `ip link set … type KIND dev …`',
      adapted: '—',
      lost: 'a kind that nobody but its maker can make again: MACsec, whose keys the kernel does not show, and unknown ones',
    },
    {
      attribute: 'upper.*/forwarding',
      what: 'configured entries of a VXLAN’s forwarding table',
      read: '`bridge -j -d fdb`',
      replay: '`bridge fdb append`',
      adapted: '—',
      lost: 'the VXLAN is not there',
    },
    { attribute: 'upper.*', what: 'its link, addresses, routes, neighbours, queueing, sysctls' },
    {
      attribute: 'nexthop.*',
      what: 'nexthop objects on the interface or on what stands on it, and their groups',
      read: '`ip -j -d nexthop`',
      replay:
        '`ip nexthop replace`, then the routes that use them, as soon as there is a link: the kernel takes none before, and drops them with the link, also in `hold`',
      adapted: '—',
      lost: 'no link, or the kernel refuses it',
    },
  ],
});
