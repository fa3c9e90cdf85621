/** The interface as a port of a bridge or a bond. */
import { type AttributeGroup, group } from './row.ts';

/** Lines of `NAME what it is`. */
const SETTINGS = `
cost path cost: kept as a number, also where the new device is faster or slower
priority port priority of STP
hairpin frames may leave by the port that they came by
guard BPDU guard
root_block may not become root port
fastleave multicast groups are left at once
learning addresses are learned
flood unknown unicast is flooded
mcast_flood unknown multicast is flooded
bcast_flood broadcast is flooded
mcast_router multicast router behind the port
mcast_to_unicast multicast is sent as unicast
proxy_arp the bridge answers ARP
proxy_arp_wifi the bridge answers ARP, for WLAN
neigh_suppress ARP and ND are suppressed
group_fwd_mask link-local groups that are forwarded
vlan_tunnel VLANs are led to tunnels
isolated isolated from other isolated ports
locked only known addresses may send
backup_port port that takes over
`;

const settings = SETTINGS.trim()
  .split('\n')
  .map((line) => {
    const [name = '', ...what] = line.split(' ');
    return { attribute: `port.${name}`, what: what.join(' ') };
  });

export const PORT: AttributeGroup = group({
  title: 'A port of a bridge or a bond',
  intro:
    'What a master keeps about its port, and forgets when the port leaves. Set before the device is up, so that nothing passes a port that is not locked yet. In `hold` and `bridge` the shadow interface is the port, and stays one. A port of a bond or team of the user’s own can have no shadow interface between: it is always `replay`, while the other ports carry the traffic. The state is none of it: without STP every port with a link forwards, with STP that decides. Options of team ports are teamd’s, ports of Open vSwitch its daemon’s: both take the interface again by its name, and a warning says so.',
  shared: {
    read: '`ip -d link`',
    replay: '`ip link set … type bridge_slave`, before the device is up',
    adapted: '—',
    lost: 'the bridge does not take it; the kernel’s words are the reason',
  },
  rows: [
    ...settings,
    {
      attribute: 'port.queue_id',
      what: 'of a bond: the queue that belongs to the port',
      replay: '`ip link set … type bond_slave`',
    },
    {
      attribute: 'port.*',
      what: 'settings that newer kernels have (mab, mcast_max_groups, neigh_vlan_suppress); of a bond: prio',
    },
    {
      attribute: 'port.vlan.*',
      what: 'VLAN, or a run of them, with pvid, untagged and what `bridge vlan set` sets',
      read: '`bridge -d vlan`',
      replay: '`bridge vlan add`; the bridge’s default VLAN is taken away where the port was not in it',
    },
    {
      attribute: 'port.tunnel.*',
      what: 'VLAN and the tunnel that it is led to',
      read: '`bridge vlan tunnelshow`',
      replay: '`bridge vlan add … tunnel_info`',
    },
    {
      attribute: 'port.fdb.*',
      what: 'static or permanent forwarding entry, also of the interface itself; learned ones are learned again',
      read: '`bridge fdb`',
      replay: '`bridge fdb replace`',
    },
    {
      attribute: 'port.mdb.*',
      what: 'permanent multicast group',
      read: '`bridge mdb`',
      replay: '`bridge mdb add`',
    },
    {
      attribute: 'bond.port.*',
      what: 'options of the direct device as a port of its shadow interface: queue_id, prio',
      replay: '`ip link set … type bond_slave`, after it was taken in',
      lost: 'the bond was dissolved',
    },
  ],
});
