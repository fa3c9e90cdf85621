/** Addresses, routes, rules, neighbours, groups. */
import { type AttributeGroup, group } from './row.ts';

export const ADDRESSING: AttributeGroup = group({
  title: 'Addresses, routes, rules, neighbours',
  intro:
    'Replayed in one batch of `ip` per family, addresses before routes, routes in the order of their dependence. Lifetimes run on while the device is away. What the kernel makes by itself with an address is only verified.',
  shared: {
    read: '`ip`',
    replay: '`ip -batch`',
    adapted: '—',
    lost: 'the guest’s kernel refuses it; its words are the reason',
  },
  rows: [
    {
      attribute: 'address.inet.*',
      what: 'IPv4 address with prefix, peer, broadcast, scope, label, metric, flags, lifetimes',
      read: '`ip -d address`',
      replay: '`ip address add`',
    },
    {
      attribute: 'address.inet6.*',
      what: 'IPv6 address with flags and lifetimes',
      read: '`ip -d address`',
      replay: '`ip address add … nodad`: no second search for duplicates',
    },
    {
      attribute: 'route.inet.*',
      what: 'IPv4 route in any table with metrics, next hops, encapsulation; also one of another interface whose source is an address of this one, as it goes with the address',
      read: '`ip -d route show table all`',
      replay: '`ip route add`',
    },
    {
      attribute: 'route.inet6.*',
      what: 'IPv6 route',
      read: '`ip -6 -d route show table all`',
      replay:
        '`ip -6 route add`; for one that the kernel learned from a router a stand-in of a metric one worse, with what is left of its lifetime: one of the same metric would keep the kernel from learning its own again',
      adapted: 'while the router has not answered: the stand-in’s metric',
    },
    {
      attribute: 'rule.*',
      what: 'rule that names the interface, or selects a table of its routes',
      read: '`ip rule`',
      replay: '`ip rule add`, unless it is still there',
    },
    {
      attribute: 'neighbour.*',
      what: 'permanent, noarp, externally learned and proxy neighbours; others only prime the new device',
      read: '`ip neighbour show nud all`, `proxy`',
      replay: '`ip neighbour replace`',
    },
    {
      attribute: 'multicast.link.*',
      what: 'link-layer group that an administrator joined',
      read: '`ip maddress`',
      replay: '`ip maddress add`',
    },
  ],
});
