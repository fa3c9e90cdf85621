/**
 * What the lab's guest is made of. Everything here is part of the image's identity: a change makes a new image.
 */

/** Grows when the way the image is put together changes. */
export const BUILDER_VERSION = 1;

/** The package that pulls in the current Debian kernel; its dependency `linux-image-<version>-amd64` is what is used. */
export const KERNEL_PACKAGE = 'linux-image-amd64';

/** Packages whose programs the guest has; the libraries they need come from their dependencies. */
export const PACKAGES = [
  'bpftool',
  'busybox-static',
  'coreutils',
  'dash',
  'dmsetup',
  'dropbear-bin',
  'ethtool',
  'iperf3',
  'iproute2',
  'kmod',
  'nftables',
  'qemu-guest-agent',
  'socat',
  'wireguard-tools',
] as const;

/** Packages needed to build the image, of which nothing goes into it. */
export const BUILD_PACKAGES = ['xz-utils'] as const;

/** Programs copied into the guest's /usr/bin, with the shared libraries they name. */
export const PROGRAMS = [
  'bpftool',
  'bridge',
  'busybox',
  'dash',
  'dmsetup',
  'dropbear',
  'dropbearkey',
  'ethtool',
  'ip',
  'iperf3',
  'kmod',
  'nft',
  'qemu-ga',
  'socat',
  'ss',
  'stdbuf',
  'tc',
  'wg',
] as const;

/** Those of the programs that need no libraries. */
export const STATIC_PROGRAMS: ReadonlySet<string> = new Set(['busybox']);

/** Data files that programs of the list look for, copied as they are; no release of Debian has all of them. */
export const DATA_DIRECTORIES = [
  'etc/iproute2',
  'usr/share/iproute2',
  'usr/lib/x86_64-linux-gnu/tc',
  'usr/libexec/coreutils', // what stdbuf lends to the programs that it starts
] as const;

/** Names kmod answers to. */
export const KMOD_NAMES = ['modprobe', 'depmod', 'insmod', 'lsmod', 'modinfo', 'rmmod'] as const;

/**
 * Applets that are not linked, because a full program of that name is in the image or because a script that
 * finds the applet first would not find what it expects (`ip` of busybox knows a tenth of iproute2's).
 */
export const APPLETS_LEFT_OUT: ReadonlySet<string> = new Set([
  ...KMOD_NAMES,
  'busybox',
  'ip',
  'ipneigh',
  'ipaddr',
  'iplink',
  'iproute',
  'iprule',
  'iptunnel',
  'dpkg',
  'dpkg-deb',
  'rpm',
  'rpm2cpio',
  'linuxrc',
  'sh',
]);

/** Kernel modules of the guest, by name; what they depend on comes along. */
export const MODULES = [
  // network devices that QEMU offers
  'e1000',
  'e1000e',
  'igb',
  'igbvf',
  'ixgbevf',
  'vmxnet3',
  '8139cp',
  '8139too',
  'pcnet32',
  'tulip',
  'ne2k-pci',
  'e100',
  // virtio
  'virtio_net',
  'virtio_pci',
  'virtio_console',
  'virtio_rng',
  'virtio_blk',
  'virtio_balloon',
  'net_failover',
  // disks
  'nvme',
  'dm-mod',
  'dm-mirror',
  'dm-snapshot',
  'ext4',
  'crc32c_generic',
  // software network devices
  'bonding',
  'team',
  'team_mode_activebackup',
  'bridge',
  'br_netfilter',
  '8021q',
  'macvlan',
  'macvtap',
  'ipvlan',
  'vrf',
  'dummy',
  'veth',
  'ifb',
  'tun',
  'vxlan',
  'geneve',
  'ip_gre',
  'ip6_gre',
  'ipip',
  'ip6_tunnel',
  'sit',
  'macsec',
  'wireguard',
  // firewall
  'nf_tables',
  'nft_chain_nat',
  'nft_ct',
  'nft_fib_inet',
  'nft_flow_offload',
  'nf_flow_table_inet',
  'nft_masq',
  'nft_reject_inet',
  // sockets' own view, for ss
  'tcp_diag',
  'udp_diag',
  'inet_diag',
  'af_packet_diag',
  'unix_diag',
  // congestion control
  'tcp_bbr',
  // traffic control
  'sch_cake',
  'sch_cbs',
  'sch_choke',
  'sch_codel',
  'sch_drr',
  'sch_ets',
  'sch_fq',
  'sch_fq_pie',
  'sch_hfsc',
  'sch_hhf',
  'sch_htb',
  'sch_ingress',
  'sch_mqprio',
  'sch_multiq',
  'sch_netem',
  'sch_pie',
  'sch_plug',
  'sch_prio',
  'sch_qfq',
  'sch_red',
  'sch_sfb',
  'sch_sfq',
  'sch_skbprio',
  'sch_tbf',
  'cls_basic',
  'cls_bpf',
  'cls_flow',
  'cls_flower',
  'cls_fw',
  'cls_matchall',
  'cls_route',
  'cls_u32',
  'em_cmp',
  'em_meta',
  'em_nbyte',
  'em_text',
  'em_u32',
  'act_bpf',
  'act_connmark',
  'act_csum',
  'act_ct',
  'act_gact',
  'act_mirred',
  'act_nat',
  'act_pedit',
  'act_police',
  'act_sample',
  'act_simple',
  'act_skbedit',
  'act_skbmod',
  'act_tunnel_key',
  'act_vlan',
  // the lab's own channel for the setup script
  'qemu_fw_cfg',
] as const;
