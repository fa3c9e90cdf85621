/**
 * What a guest must find after its next boot, so that what was made of an interface is made again: files for its
 * network manager. Pure: from what is known of the interface and of the guest to texts.
 */
import type { NetShadow } from '../model.ts';
import { ifupdownFiles, isAuto } from './persist-ifupdown.ts';
import { linkFiles } from './persist-link.ts';
import {
  type Bond,
  file,
  header,
  type Member,
  type Paths,
  type PersistFacts,
  type PersistFile,
  type Persisting,
  pathsFor,
} from './persist-model.ts';
import { networkdFiles } from './persist-networkd.ts';
import { nmFiles } from './persist-networkmanager.ts';

/** Names that mean nothing to a shell, to udev and to the files of a manager. */
const PLAIN = /^[A-Za-z0-9_.:-]+$/;
/** Names that the kernel gives: a bond of such a name must not come before udev has taken it from the device. */
const KERNEL_NAME = /^eth[0-9]+$/;

/** Every path that may have a file of ours for a NIC. */
export function persistPaths(tag: string): string[] {
  return Object.values(pathsFor(tag));
}

/** Names a device whatever its driver is. A rule comes before the names of `.link` files, whose other settings stay. */
function nameRule(path: string, member: Member, name: string): PersistFile {
  const match = `SUBSYSTEM=="net", ACTION=="add", KERNELS=="${member.pciPath}", ATTR{address}=="${member.mac}"`;
  return file(path, `${header('the name of a direct device')}${match}, NAME="${name}"\n`);
}

/** A bond of the kernel's name for its device must wait until udev has given the device another. */
function afterUdev(path: string): PersistFile {
  const unit = 'systemd-udev-settle.service';
  return file(
    path,
    `${header('the bond comes when the device has its name')}[Unit]\nWants=${unit}\nAfter=${unit}\n`,
  );
}

/** Does ifupdown read `/etc/network/interfaces.d`? */
const readsParts = (lines: readonly string[]) =>
  lines.some((line) => /^\s*source(-directory)?\s+(\/etc\/network\/)?interfaces\.d(\/\*|\/)?\s*$/.test(line));

/** Options that the shadow interface is made with, by the kernel's names. */
const BOND_OPTIONS = [
  'mode',
  'miimon',
  'fail_over_mac',
  'all_slaves_active',
  'num_grat_arp',
  'peer_notif_delay',
  'primary_reselect',
];

function bondOf(shadow: NetShadow, facts: PersistFacts): Bond | undefined {
  const { standIn, hardware, standby, link } = shadow;
  if (standIn.kind !== 'bond' || hardware === undefined) return undefined;
  const options = BOND_OPTIONS.flatMap((name) => {
    // sysfs says some of them as a word and a number
    const value = standIn.options[name]?.split(' ')[0];
    return value === undefined ? [] : [[name, value] as const];
  });
  const member = standby !== undefined && standIn.members.includes(standby.name) ? standby : undefined;
  return {
    interface: link.name,
    mac: link.mac,
    mtu: link.mtu,
    altnames: link.altnames ?? [],
    options: Object.fromEntries(options),
    direct: {
      name: hardware.name,
      mac: facts.directMac ?? hardware.mac,
      pciPath: hardware.pciPath,
    },
    standby:
      member === undefined
        ? undefined
        : { name: member.name, mac: facts.standbyMac ?? member.mac, pciPath: member.pciPath },
  };
}

const nothing = (problem: string): Persisting => ({ files: [], problems: [problem], notes: [] });

/**
 * The files that make an interface after a boot what it is now: the name alone where the device is bare, the shadow
 * interface with its members where there is one.
 * @param shadow as it was captured last, with the device
 * @param tag names the NIC in the names of files
 */
export function persistFiles(shadow: NetShadow, facts: PersistFacts, tag: string): Persisting {
  const { standIn, hardware, link, standby } = shadow;
  const name = link.name;
  if (hardware === undefined) return nothing(`${name} has no device`);
  const names = [
    name,
    ...(link.altnames ?? []),
    hardware.name,
    ...(standby === undefined ? [] : [standby.name]),
    tag,
  ];
  const odd = names.find((each) => !PLAIN.test(each));
  if (odd !== undefined)
    return nothing(`the name ${JSON.stringify(odd)} would mean something else in a file of configuration`);
  const paths = pathsFor(tag);
  if (standIn.kind === 'failover') {
    const note = `${name} is a failover of the kernel's own, which comes by itself after a boot: nothing was written`;
    return { files: [], problems: [], notes: [note] };
  }
  const bond = bondOf(shadow, facts);
  if (bond === undefined) return bare(paths, shadow, facts);
  const others = bondFiles(paths, bond, facts, tag);
  if (others.files.length === 0) return others;
  if (!facts.udev) return others;
  const named = [nameRule(paths.rules, bond.direct, bond.direct.name), ...linkFiles(paths, bond, facts.link)];
  const unsaid = facts.systemd && facts.link === undefined;
  const note = `udev did not say what .link file ${bond.direct.name} has: what it sets beside names is not kept`;
  return {
    ...others,
    files: [...named, ...others.files],
    notes: unsaid ? [...others.notes, note] : others.notes,
  };
}

function bare(paths: Paths, { hardware, link }: NetShadow, facts: PersistFacts): Persisting {
  if (hardware === undefined) return nothing(`${link.name} has no device`);
  if (!facts.udev) {
    const note = `there is no udev that would give ${link.name} another name after a boot: nothing was written`;
    return { files: [], problems: [], notes: [note] };
  }
  const { pciPath } = hardware;
  const device = { name: link.name, mac: facts.directMac ?? hardware.mac, pciPath };
  // a device that was given the MAC of the one before it
  const notes =
    device.mac === link.mac ? [] : [`after a boot ${link.name} has the MAC of its device, ${device.mac}`];
  return { files: [nameRule(paths.rules, device, link.name)], problems: [], notes };
}

const own = (path: string): Persisting => ({
  files: [],
  problems: [],
  notes: [`the bond is made by ${path} after a boot, which is not ours: nothing was written`],
});

function bondFiles(paths: Paths, bond: Bond, facts: PersistFacts, tag: string): Persisting {
  const done = (files: PersistFile[], unit?: string): Persisting => ({
    files: unit !== undefined && KERNEL_NAME.test(bond.interface) ? [...files, afterUdev(unit)] : files,
    problems: [],
    notes: [],
  });
  const { network, member, profile } = facts;
  if (network !== undefined) {
    const makes = member?.lines.some((line) => line.startsWith('Bond='));
    if (member !== undefined && makes && member.path !== paths.direct) return own(member.path);
    return done(networkdFiles(paths, bond, network, tag), paths.afterUdevNetworkd);
  }
  if (profile !== undefined) {
    if (!profile.path.includes(`/shadowferry-${tag}.nmconnection`)) return own(profile.path);
    return done(nmFiles(paths, tag, bond, profile), facts.systemd ? paths.afterUdevNM : undefined);
  }
  if (facts.networkManager)
    return nothing(`NetworkManager has ${bond.interface} without a profile in a file: nothing was written`);
  if (facts.ifupdown) {
    if (facts.interfaces.some((line) => /^\s*bond[-_](mode|slaves|primary)\b/.test(line)))
      return own('/etc/network/interfaces');
    if (!isAuto(facts.interfaces, bond.interface) && !readsParts(facts.interfaces)) {
      const why = `/etc/network/interfaces neither has "auto ${bond.interface}" nor reads interfaces.d`;
      return nothing(`${why}: ${bond.interface} will be bare after a boot`);
    }
    return done(ifupdownFiles(paths, bond, facts.interfaces));
  }
  return nothing(
    `no network manager has ${bond.interface} (systemd-networkd, NetworkManager, ifupdown): it will be bare after a boot`,
  );
}
