/**
 * What the distribution guests are made of: Debian as people have it, with its own init, udev and network managers.
 * Everything here is part of an image's identity: a change makes a new image.
 */

/** Grows when the way an image is put together changes. */
export const DISTRO_BUILDER_VERSION = 1;

export const SUITES = ['bookworm', 'trixie'] as const;
/** A release of Debian, by the name that its archive has for it. */
export type Suite = (typeof SUITES)[number];

/** What every guest has: init, udev, D-Bus, the agent, the tools that Shadowferry asks, and the lab's services. */
const COMMON = [
  'apparmor',
  'dbus',
  'ethtool',
  'iperf3',
  'iproute2',
  'kmod',
  'linux-image-amd64',
  'netbase',
  'procps',
  'qemu-guest-agent',
  'socat',
  'systemd-sysv',
  'udev',
] as const;

/** Network managers of each release; systemd-networkd is a part of systemd. The guest's setup enables one. */
const MANAGERS: Readonly<Record<Suite, readonly string[]>> = {
  bookworm: ['ifupdown', 'isc-dhcp-client', 'network-manager'],
  trixie: ['dhcpcd-base', 'ifupdown'],
};

/** All packages of one release; what they depend on comes along, what they recommend does not. */
export function distroPackages(suite: Suite): string[] {
  return [...COMMON, ...MANAGERS[suite]];
}

/** Parts of the kernel that no lab guest has hardware or use for; the archive has one kernel for all machines. */
const NO_MODULES = [
  'drivers/ata',
  'drivers/bluetooth',
  'drivers/comedi',
  'drivers/crypto',
  'drivers/edac',
  'drivers/gpio',
  'drivers/gpu',
  'drivers/hid',
  'drivers/hwmon',
  'drivers/i2c',
  'drivers/iio',
  'drivers/infiniband',
  'drivers/input',
  'drivers/isdn',
  'drivers/leds',
  'drivers/media',
  'drivers/mfd',
  'drivers/mmc',
  'drivers/mtd',
  'drivers/net/wireless',
  'drivers/nfc',
  'drivers/pinctrl',
  'drivers/platform',
  'drivers/power',
  'drivers/regulator',
  'drivers/scsi',
  'drivers/soundwire',
  'drivers/staging',
  'drivers/target',
  'drivers/thunderbolt',
  'drivers/tty',
  'drivers/usb',
  'drivers/video',
  'drivers/w1',
  'drivers/watchdog',
  'fs/afs',
  'fs/btrfs',
  'fs/ceph',
  'fs/f2fs',
  'fs/gfs2',
  'fs/jfs',
  'fs/nfs',
  'fs/nfsd',
  'fs/ocfs2',
  'fs/reiserfs',
  'fs/smb',
  'fs/ubifs',
  'fs/xfs',
  'net/bluetooth',
  'net/wireless',
  'sound',
] as const;

/** Paths that dpkg does not unpack. */
export const LEFT_OUT: readonly string[] = [
  '/usr/share/doc/*',
  '/usr/share/locale/*',
  '/usr/share/man/*',
  // before and after the merge of / and /usr
  ...NO_MODULES.flatMap((part) => [`/lib/modules/*/kernel/${part}/*`, `/usr/lib/modules/*/kernel/${part}/*`]),
];

/** Modules that the first step of the boot needs: the disk, its file system, and the lab's word to the guest. */
export const BOOT_MODULES = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4', 'qemu_fw_cfg'] as const;

/** Units that a guest of the lab has no use for and that cost boot time under TCG. */
export const MASKED_UNITS = [
  'dev-hugepages.mount',
  'dev-mqueue.mount',
  'modprobe@configfs.service',
  'modprobe@drm.service',
  'modprobe@fuse.service',
  'sys-fs-fuse-connections.mount',
  'sys-kernel-config.mount',
  'sys-kernel-debug.mount',
  'sys-kernel-tracing.mount',
  'systemd-logind.service',
  'systemd-random-seed.service',
  'systemd-update-utmp-runlevel.service',
  'systemd-user-sessions.service',
  'apt-daily-upgrade.timer',
  'apt-daily.timer',
  'console-getty.service',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'fstrim.timer',
  'getty-static.service',
  'getty.target',
  'ModemManager.service',
  'NetworkManager-dispatcher.service',
  'NetworkManager-wait-online.service',
  'remote-fs.target',
  'systemd-binfmt.service',
  'systemd-firstboot.service',
  'systemd-hwdb-update.service',
  'systemd-journal-flush.service',
  'systemd-networkd-wait-online.service',
  'systemd-pstore.service',
  'systemd-resolved.service',
  'systemd-timesyncd.service',
  'systemd-update-done.service',
  'systemd-update-utmp.service',
  'wpa_supplicant.service',
] as const;

/** Size of the root file system, as mke2fs takes it; the image's file is sparse. */
export const ROOT_SIZE = '2G';
