/** Values of sysctls that no fresh interface has. */
import { type AttributeCase, fileCase } from './case.ts';

const IPV4_CONF = `accept_local 1|accept_redirects 0|accept_source_route 0|arp_accept 1|arp_announce 2
  arp_evict_nocarrier 0|arp_filter 1|arp_ignore 1|arp_notify 0|bc_forwarding 1|bootp_relay 1|disable_policy 1|disable_xfrm 1
  drop_gratuitous_arp 1|drop_unicast_in_l2_multicast 1|force_igmp_version 2|forwarding 1
  igmpv2_unsolicited_report_interval 9000|igmpv3_unsolicited_report_interval 1200|ignore_routes_with_linkdown 1
  log_martians 1|medium_id 7|promote_secondaries 1|proxy_arp 1|proxy_arp_pvlan 1|route_localnet 1|rp_filter 1
  secure_redirects 0|send_redirects 0|shared_media 0|src_valid_mark 1|tag 5`;

const NEIGH = `anycast_delay 110|app_solicit 1|base_reachable_time_ms 31000|delay_first_probe_time 6
  gc_stale_time 121|interval_probe_time_ms 5100|locktime 150|mcast_resolicit 1|mcast_solicit 4|proxy_delay 90
  proxy_qlen 65|retrans_time_ms 1100|ucast_solicit 4|unres_qlen_bytes 100000`;

// the secret first, then what writing it changes
const IPV6_CONF = `stable_secret 2001:db8:1:2:3:4:5:6|addr_gen_mode 3|accept_dad 2|accept_ra 2
  accept_ra_defrtr 0|accept_ra_from_local 1|accept_ra_min_hop_limit 2|accept_ra_min_lft 10|accept_ra_mtu 0
  accept_ra_pinfo 0|accept_ra_rt_info_max_plen 64|accept_ra_rt_info_min_plen 16|accept_ra_rtr_pref 0
  accept_redirects 0|accept_source_route 1|accept_untracked_na 1|autoconf 0|dad_transmits 2|disable_policy 1
  drop_unicast_in_l2_multicast 1|drop_unsolicited_na 1|enhanced_dad 0|force_mld_version 1|force_tllao 1|forwarding 1
  hop_limit 77|ignore_routes_with_linkdown 1|ioam6_enabled 1|ioam6_id 77|ioam6_id_wide 777|keep_addr_on_down 1
  max_addresses 17|max_desync_factor 700|mldv1_unsolicited_report_interval 9000
  mldv2_unsolicited_report_interval 1200|mtu 1380|ndisc_evict_nocarrier 0|ndisc_notify 1|ndisc_tclass 32|optimistic_dad 1
  proxy_ndp 1|ra_defrtr_metric 2048|regen_max_retry 4|router_probe_interval 61|router_solicitation_delay 2
  router_solicitation_interval 5|router_solicitation_max_interval 3601|router_solicitations 2|rpl_seg_enabled 1
  seg6_enabled 1|seg6_require_hmac 1|suppress_frag_ndisc 0|temp_prefered_lft 86401|temp_valid_lft 604801
  use_oif_addrs_only 1|use_optimistic 1|use_tempaddr 2`;

function cases(family: string, part: string, text: string): AttributeCase[] {
  return text.split(/[|\n]/).map((pair) => {
    const [name = '', value = ''] = pair.trim().split(' ');
    return fileCase(
      `sysctl.${family}.${part}.${name}`,
      `/proc/sys/net/${family}/${part}/$dev/${name}`,
      value,
    );
  });
}

/** All but the one that takes IPv6 away from the others. */
export const SYSCTL_CASES: readonly AttributeCase[] = [
  ...cases('ipv4', 'conf', IPV4_CONF),
  ...cases('ipv4', 'neigh', NEIGH),
  ...cases('ipv6', 'conf', IPV6_CONF),
  ...cases('ipv6', 'neigh', NEIGH),
];

export const NO_IPV6 = fileCase(
  'sysctl.ipv6.conf.disable_ipv6',
  '/proc/sys/net/ipv6/conf/$dev/disable_ipv6',
  '1',
);
