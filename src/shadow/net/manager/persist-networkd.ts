/** A shadow interface in systemd-networkd's own files. Pure. */
import {
  type Bond,
  ETHERNET_MTU,
  file,
  type GuestText,
  header,
  type Member,
  matchMember,
  type Paths,
  type PersistFile,
} from './persist-model.ts';

/** networkd's names of a bond's options, with the kernel's. Times in ms. */
const NETWORKD_BOND: readonly [kernel: string, networkd: string, as: (value: string) => string][] = [
  ['mode', 'Mode', (value) => value],
  ['miimon', 'MIIMonitorSec', (value) => `${value}ms`],
  ['fail_over_mac', 'FailOverMACPolicy', (value) => value],
  ['all_slaves_active', 'AllSlavesActive', (value) => (/^(1|on|delivered)$/.test(value) ? 'yes' : 'no')],
  ['num_grat_arp', 'GratuitousARP', (value) => value],
  ['primary_reselect', 'PrimaryReselectPolicy', (value) => value],
];

function networkdMember(path: string, bond: Bond, member: Member, primary: boolean): PersistFile {
  return file(
    path,
    [
      header(`a member of the shadow interface ${bond.interface}`),
      ...matchMember(bond, member),
      '',
      '[Link]',
      'RequiredForOnline=no',
      '',
      '[Network]',
      `Bond=${bond.interface}`,
      ...(primary ? ['PrimarySlave=yes'] : []),
      '',
    ].join('\n'),
  );
}

/** @param network the file by which networkd configures it now */
export function networkdFiles(paths: Paths, bond: Bond, network: GuestText, tag: string): PersistFile[] {
  const options = NETWORKD_BOND.flatMap(([kernel, networkd, as]) => {
    const value = bond.options[kernel];
    return value === undefined ? [] : [`${networkd}=${as(value)}`];
  });
  // what stands below /run until the next boot, and what an earlier time made of it; an own file matches the bond
  const copied = network.path.includes(`shadowferry-${tag}.network`);
  const text = network.lines.filter((line) => !line.startsWith('#')).join('\n');
  return [
    file(
      paths.netdev,
      [
        header(`the shadow interface ${bond.interface}`),
        '[NetDev]',
        `Name=${bond.interface}`,
        'Kind=bond',
        `MACAddress=${bond.mac}`,
        ...(bond.mtu === ETHERNET_MTU ? [] : [`MTUBytes=${bond.mtu}`]),
        '',
        '[Bond]',
        ...options,
        '',
      ].join('\n'),
    ),
    networkdMember(paths.direct, bond, bond.direct, true),
    ...(bond.standby === undefined ? [] : [networkdMember(paths.standby, bond, bond.standby, false)]),
    ...(copied
      ? [file(paths.network, `${header(`addresses of the shadow interface ${bond.interface}`)}\n${text}\n`)]
      : []),
  ];
}
