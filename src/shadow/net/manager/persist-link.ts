/**
 * What systemd's udev reads of interfaces (`.link`). Left alone it would give the direct device, which has another name
 * below the bond, the bond's name as an alternative one, and then nobody can make the bond. Pure.
 */
import {
  type Bond,
  file,
  type GuestText,
  header,
  matchMember,
  type Paths,
  type PersistFile,
} from './persist-model.ts';

/** What a rule of ours, or nobody, decides. */
const OF_NAMES = /^\s*(Name|NamePolicy|AlternativeName|AlternativeNamesPolicy)\s*=/;

/** The settings of a `.link` file without what it matches, its comments and its names. */
function settingsOf({ lines }: GuestText): string[] {
  const kept: string[] = [];
  let matching = false;
  for (const line of lines) {
    if (line.startsWith('[')) matching = line.startsWith('[Match]');
    if (!matching && line.trim() !== '' && !/^\s*[#;]/.test(line) && !OF_NAMES.test(line)) kept.push(line);
  }
  return kept;
}

/**
 * The first file that matches a device is the only one, so ours has the settings of the one that it stands before.
 * @param link what udev would have for the device; undefined where it does not say
 */
export function linkFiles(paths: Paths, bond: Bond, link: GuestText | undefined): PersistFile[] {
  const direct = [
    header(`no other names for the direct device below ${bond.interface}`),
    ...matchMember(bond, bond.direct),
    '',
    ...(link === undefined ? [] : settingsOf(link)),
    '',
    '[Link]',
    'NamePolicy=',
    'AlternativeNamesPolicy=',
    '',
  ];
  const others = [
    header(`other names of the shadow interface ${bond.interface}`),
    '[Match]',
    `OriginalName=${bond.interface}`,
    'Type=bond',
    '',
    '[Link]',
    ...bond.altnames.map((name) => `AlternativeName=${name}`),
    '',
  ];
  return [
    file(paths.link, direct.join('\n')),
    ...(bond.altnames.length === 0 ? [] : [file(paths.bondLink, others.join('\n'))]),
  ];
}
