/** The interface's sysctls, one row each. */
import { type AttributeGroup, group } from './row.ts';

/** Lines of `NAME what it does`. */
function rows(family: string, part: string, text: string) {
  return text
    .trim()
    .split('\n')
    .map((line) => line.trim())
    .map((line) => ({
      attribute: `sysctl.${family}.${part}.${line.slice(0, line.indexOf(' '))}`,
      what: line.slice(line.indexOf(' ') + 1),
    }));
}

const IPV4_CONF = rows(
  'ipv4',
  'conf',
  `accept_local takes packets whose source is an address of this host
  accept_redirects heeds ICMP redirects
  accept_source_route takes packets with a source route
  arp_accept learns from gratuitous ARP
  arp_announce which source an ARP question names
  arp_evict_nocarrier forgets neighbours when the carrier goes
  arp_filter answers ARP only where the route back leads
  arp_ignore which ARP questions are answered
  arp_notify announces addresses when it comes up
  bc_forwarding forwards directed broadcasts
  bootp_relay takes 0.b.c.d packets for a relay
  disable_policy no IPsec policy
  disable_xfrm no IPsec encryption
  drop_gratuitous_arp drops gratuitous ARP
  drop_unicast_in_l2_multicast drops unicast packets in multicast frames
  force_igmp_version version of IGMP
  forwarding routes packets
  igmpv2_unsolicited_report_interval ms between IGMPv2 reports
  igmpv3_unsolicited_report_interval ms between IGMPv3 reports
  ignore_routes_with_linkdown ignores routes without a link
  log_martians logs impossible addresses
  medium_id tells media apart for proxy ARP
  promote_secondaries a secondary address takes a removed one's place
  proxy_arp answers ARP for others
  proxy_arp_pvlan answers ARP within a private VLAN
  route_localnet routes 127/8
  rp_filter checks the way back to a source
  secure_redirects heeds redirects of known gateways only
  send_redirects sends ICMP redirects
  shared_media the medium is shared by several networks
  src_valid_mark the mark counts in the check of a source
  tag a number for programs`,
);

const NEIGH = `anycast_delay longest wait before an answer for an anycast address
  app_solicit questions to a program before multicast ones
  base_reachable_time_ms how long a neighbour counts as reachable
  delay_first_probe_time seconds before the first probe
  gc_stale_time seconds until an unused entry is checked
  interval_probe_time_ms ms between probes of managed entries
  locktime how long an entry cannot be replaced
  mcast_resolicit multicast questions after unicast ones
  mcast_solicit multicast questions
  proxy_delay longest wait before an answer for others
  proxy_qlen answers for others that may wait
  retrans_time_ms ms between questions
  ucast_solicit unicast questions
  unres_qlen_bytes bytes that wait for an address`;

const IPV6_CONF = rows(
  'ipv6',
  'conf',
  `accept_dad what a duplicate address does
  accept_ra heeds router advertisements
  accept_ra_defrtr learns default routers
  accept_ra_from_local takes advertisements of its own addresses
  accept_ra_min_hop_limit least hop limit taken from an advertisement
  accept_ra_min_lft least lifetime taken from an advertisement
  accept_ra_mtu takes the MTU of an advertisement
  accept_ra_pinfo learns prefixes
  accept_ra_rt_info_max_plen longest prefix of a learned route
  accept_ra_rt_info_min_plen shortest prefix of a learned route
  accept_ra_rtr_pref heeds the preference of routers
  accept_redirects heeds ICMPv6 redirects
  accept_source_route takes routing headers
  accept_untracked_na learns from advertisements that nobody asked for
  addr_gen_mode how interface identifiers are made
  autoconf makes addresses of learned prefixes
  dad_transmits probes for a duplicate address
  disable_ipv6 no IPv6 at all
  disable_policy no IPsec policy
  drop_unicast_in_l2_multicast drops unicast packets in multicast frames
  drop_unsolicited_na drops advertisements that nobody asked for
  enhanced_dad a nonce in probes for duplicates
  force_mld_version version of MLD
  force_tllao always names the link-layer address
  forwarding routes packets
  hop_limit default hop limit
  ignore_routes_with_linkdown ignores routes without a link
  ioam6_enabled takes in-situ OAM headers
  ioam6_id its OAM number
  ioam6_id_wide its long OAM number
  keep_addr_on_down keeps addresses when it goes down
  max_addresses most addresses that are made by themselves
  max_desync_factor spread of the renewal of temporary addresses, seconds
  mldv1_unsolicited_report_interval ms between MLDv1 reports
  mldv2_unsolicited_report_interval ms between MLDv2 reports
  mtu IPv6's own MTU, where it is smaller than the link's
  ndisc_evict_nocarrier forgets neighbours when the carrier goes
  ndisc_notify announces addresses when it comes up
  ndisc_tclass traffic class of neighbour discovery
  optimistic_dad uses addresses before they are checked
  proxy_ndp answers for others
  ra_defrtr_metric metric of learned default routes
  regen_max_retry tries to make a temporary address
  router_probe_interval seconds between probes of a router
  router_solicitation_delay seconds before routers are asked
  router_solicitation_interval seconds between questions to routers
  router_solicitation_max_interval most seconds between questions
  router_solicitations questions to routers
  rpl_seg_enabled takes RPL headers
  seg6_enabled takes segment routing headers
  seg6_require_hmac asks for signed segment routing headers
  stable_secret secret of stable addresses; reports show its hash
  suppress_frag_ndisc drops fragmented neighbour discovery
  temp_prefered_lft seconds that a temporary address is preferred
  temp_valid_lft seconds that a temporary address is valid
  use_oif_addrs_only only its own addresses as a source
  use_optimistic takes unchecked addresses as a source
  use_tempaddr makes temporary addresses`,
);

export const SYSCTL: AttributeGroup = group({
  title: 'Sysctls of the interface',
  intro:
    'Every file below `/proc/sys/net/{ipv4,ipv6}/{conf,neigh}/DEV`, also those of a newer kernel, which come under the last row. Left out are older spellings of one value (`base_reachable_time`, `retrans_time`, `unres_qlen`) and the read-only `mc_forwarding`.',
  shared: {
    read: '`/proc/sys/net/…/DEV/*`',
    replay: 'written: before the link is raised where packets depend on it, else after the routes',
    adapted: '—',
    lost: 'the guest’s kernel refuses the write; its words are the reason',
  },
  rows: [
    ...IPV4_CONF,
    ...rows('ipv4', 'neigh', NEIGH),
    ...IPV6_CONF.map((row) =>
      row.attribute === 'sysctl.ipv6.conf.mtu'
        ? {
            ...row,
            replay: 'written when the kernel has noted the link, as it takes the link’s MTU then',
          }
        : row,
    ),
    ...rows('ipv6', 'neigh', NEIGH),
    { attribute: 'sysctl.*', what: 'any other sysctl of the interface' },
  ],
});
