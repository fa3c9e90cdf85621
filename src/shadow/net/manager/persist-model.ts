/** What is written for a guest's next boot is made of, and what all of it shares. Pure. */

/** What `persist.sh` found in the guest. */
export interface PersistFacts {
  /** udev names interfaces; systemd starts what runs. */
  udev: boolean;
  systemd: boolean;
  /** MACs that the devices are born with, where they have others now. */
  directMac: string | undefined;
  standbyMac: string | undefined;
  /** The file by which systemd-networkd configures the interface, and the one for the direct device below a bond. */
  network: GuestText | undefined;
  member: GuestText | undefined;
  /** What udev's `.link` file says of the direct device below a bond, with its drop-ins. */
  link: GuestText | undefined;
  /** NetworkManager's profile of the interface; whether it has the interface at all. */
  profile: GuestText | undefined;
  networkManager: boolean;
  /** Whether ifupdown has the interface, and its files, without ours. */
  ifupdown: boolean;
  interfaces: readonly string[];
}

export interface GuestText {
  path: string;
  lines: readonly string[];
}

export interface PersistFile {
  path: string;
  mode: '644' | '600' | '755';
  text: string;
}

export interface Persisting {
  files: PersistFile[];
  /** What could not be written and why; then there are no files. */
  problems: string[];
  /** What the user may want to know. */
  notes: string[];
}

const NETWORKD = '/etc/systemd/network';
const NM = '/etc/NetworkManager/system-connections';
export const UNITS = {
  networkd: 'systemd-networkd.service',
  NetworkManager: 'NetworkManager.service',
} as const;

/** Every file that is ever written for a NIC, by its role. `00-shadowferry-…` below /run comes before `01-`. */
export function pathsFor(tag: string) {
  return {
    rules: `/etc/udev/rules.d/79-shadowferry-${tag}.rules`,
    link: `${NETWORKD}/01-shadowferry-${tag}.link`,
    bondLink: `${NETWORKD}/01-shadowferry-${tag}-bond.link`,
    netdev: `${NETWORKD}/01-shadowferry-${tag}.netdev`,
    network: `${NETWORKD}/01-shadowferry-${tag}.network`,
    direct: `${NETWORKD}/01-shadowferry-${tag}-direct.network`,
    standby: `${NETWORKD}/01-shadowferry-${tag}-standby.network`,
    profile: `${NM}/shadowferry-${tag}.nmconnection`,
    directProfile: `${NM}/shadowferry-${tag}-direct.nmconnection`,
    standbyProfile: `${NM}/shadowferry-${tag}-standby.nmconnection`,
    withoutCarrier: `/etc/NetworkManager/conf.d/50-shadowferry-${tag}.conf`,
    interfaces: `/etc/network/interfaces.d/shadowferry-${tag}`,
    hook: `/etc/network/if-pre-up.d/shadowferry-${tag}`,
    afterUdevNetworkd: `/etc/systemd/system/${UNITS.networkd}.d/50-shadowferry-${tag}.conf`,
    afterUdevNM: `/etc/systemd/system/${UNITS.NetworkManager}.d/50-shadowferry-${tag}.conf`,
  };
}
/** The paths of one NIC. */
export type Paths = ReturnType<typeof pathsFor>;

/** Our words at the beginning of each file: by them it is known as ours. */
export const header = (what: string) =>
  `# Written by Shadowferry (--persist): ${what}.\n# It is written anew by the next migration or swap with --persist; remove it to have the device as it was.\n`;

/** The shadow interface. */
export interface Bond {
  interface: string;
  mac: string;
  mtu: number;
  altnames: readonly string[];
  /** By the kernel's names, first words only. */
  options: Readonly<Record<string, string>>;
  direct: Member;
  standby: Member | undefined;
}

/** A device below the bond. */
export interface Member {
  name: string;
  /** The one that it is born with. */
  mac: string;
  pciPath: string;
}

/** A file to be written; for root alone with `600`. */
export const file = (path: string, text: string, mode: PersistFile['mode'] = '644'): PersistFile => ({
  path,
  mode,
  text,
});

/** The section by which systemd's files know a member: whatever its name is, and its driver. */
export const matchMember = (bond: Bond, member: Member): string[] => [
  '[Match]',
  `Path=*pci-${member.pciPath}`,
  // as it is now where it is the bond's own, else as it was born
  `${member.mac === bond.mac ? 'MACAddress' : 'PermanentMACAddress'}=${member.mac}`,
];

/** The MTU that nobody need set. */
export const ETHERNET_MTU = 1500;
