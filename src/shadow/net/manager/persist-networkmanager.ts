/** A shadow interface in profiles of NetworkManager's. Pure. */
import { createHash } from 'node:crypto';
import {
  type Bond,
  ETHERNET_MTU,
  file,
  type GuestText,
  header,
  type Member,
  type Paths,
  type PersistFile,
} from './persist-model.ts';

/** The same each time, so that a file that is written again names the same profile. */
function uuidOf(...words: string[]): string {
  const hex = createHash('sha256').update(words.join('\n')).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** A section's lines without its head; undefined where there is none. */
function section(lines: readonly string[], name: string): string[] | undefined {
  const at = lines.indexOf(`[${name}]`);
  if (at < 0) return undefined;
  const rest = lines.slice(at + 1);
  const end = rest.findIndex((line) => line.startsWith('['));
  return (end < 0 ? rest : rest.slice(0, end)).filter((line) => line !== '' && !line.startsWith('#'));
}

/**
 * The standby's link is down while the device is there, and NetworkManager takes up no profile without a carrier: the
 * bond would be without it after a boot.
 */
function withoutCarrier(path: string, tag: string, { name }: Member): PersistFile {
  return file(
    path,
    [
      header('the standby is a member of the shadow interface while its link is down'),
      `[device-shadowferry-${tag}]`,
      `match-device=interface-name:=${name}`,
      'ignore-carrier=yes',
      '',
    ].join('\n'),
  );
}

/** @param profile the one that it has now: its settings above layer 2 are kept */
export function nmFiles(paths: Paths, tag: string, bond: Bond, profile: GuestText): PersistFile[] {
  const connection = section(profile.lines, 'connection') ?? [];
  const keyOf = (key: string) => connection.find((line) => line.startsWith(`${key}=`))?.slice(key.length + 1);
  const id = keyOf('id') ?? bond.interface;
  const uuid = keyOf('uuid') ?? uuidOf(bond.interface, bond.mac);
  // above the profiles that an administrator has for the device when it is bare
  const first = 'autoconnect-priority=100';
  const options = Object.entries(bond.options).map(([name, value]) => `${name}=${value}`);
  const kept = ['ipv4', 'ipv6', 'proxy'].flatMap((name) => {
    const lines = section(profile.lines, name);
    return lines === undefined ? [] : ['', `[${name}]`, ...lines];
  });
  const ethernet = [
    // a bond without members has a random one, and the DHCP server knows its client by it
    `cloned-mac-address=${bond.mac}`,
    ...(bond.mtu === ETHERNET_MTU ? [] : [`mtu=${bond.mtu}`]),
  ];
  const member = (path: string, { name, mac, pciPath }: Member) =>
    file(
      path,
      [
        header(`a member of the shadow interface ${bond.interface}`),
        '[connection]',
        `id=${id} (${name})`,
        `uuid=${uuidOf(uuid, mac, pciPath)}`,
        'type=ethernet',
        `interface-name=${name}`,
        first,
        `master=${uuid}`,
        'slave-type=bond',
        '',
      ].join('\n'),
      '600',
    );
  return [
    file(
      paths.profile,
      [
        header(`the shadow interface ${bond.interface}`),
        '[connection]',
        `id=${id}`,
        `uuid=${uuid}`,
        'type=bond',
        `interface-name=${bond.interface}`,
        first,
        // without it the members wait until somebody takes them up
        'autoconnect-slaves=1',
        '',
        '[bond]',
        ...options,
        `primary=${bond.direct.name}`,
        '',
        '[ethernet]',
        ...ethernet,
        ...kept,
        '',
      ].join('\n'),
      '600',
    ),
    member(paths.directProfile, bond.direct),
    ...(bond.standby === undefined
      ? []
      : [
          member(paths.standbyProfile, bond.standby),
          withoutCarrier(paths.withoutCarrier, tag, bond.standby),
        ]),
  ];
}
