/** The first-boot setup of a distribution guest, as an installer or cloud-init leaves it: one manager, one interface. */
import { shellQuote } from '../../../base/shell-quote.ts';

export const MANAGERS = ['ifupdown', 'networkd', 'NetworkManager'] as const;
export type ManagerName = (typeof MANAGERS)[number];

export interface DistroSetup {
  manager: ManagerName;
  /** Addresses from a DHCP server, or `ADDRESS/PREFIX` with a gateway. */
  ipv4: 'dhcp' | { address: string; gateway: string };
  /** PCI address of the NIC in the guest, for a name of the administrator's own; without one udev predicts the name. */
  rename?: { pciPath: string; name: string };
  /** Name that the interface has when the manager sees it. */
  interface: string;
  /** More lines of shell, run last, in the guest's own root directory. */
  extra?: string;
}

function file(path: string, lines: readonly string[], mode = '644'): string {
  const text = `${lines.join('\n')}\n`;
  return [
    `mkdir -p ${shellQuote(path.slice(0, path.lastIndexOf('/')))}`,
    `printf %s ${shellQuote(text)} > ${shellQuote(path)}`,
    `chmod ${mode} ${shellQuote(path)}`,
  ].join('\n');
}

const enable = (unit: string, target = 'multi-user.target') =>
  `mkdir -p /etc/systemd/system/${target}.wants; ln -sf /lib/systemd/system/${unit} /etc/systemd/system/${target}.wants/${unit}`;

function ifupdown({ interface: name, ipv4 }: DistroSetup): string[] {
  const stanza =
    ipv4 === 'dhcp'
      ? [`iface ${name} inet dhcp`]
      : [`iface ${name} inet static`, `    address ${ipv4.address}`, `    gateway ${ipv4.gateway}`];
  return [
    file('/etc/network/interfaces', [
      'source /etc/network/interfaces.d/*',
      'auto lo',
      'iface lo inet loopback',
      // as Debian's installer writes it
      `allow-hotplug ${name}`,
      ...stanza,
    ]),
    enable('networking.service'),
  ];
}

function networkd({ interface: name, ipv4 }: DistroSetup): string[] {
  const addresses = ipv4 === 'dhcp' ? ['DHCP=ipv4'] : [`Address=${ipv4.address}`, `Gateway=${ipv4.gateway}`];
  return [
    file('/etc/systemd/network/50-lan.network', ['[Match]', `Name=${name}`, '', '[Network]', ...addresses]),
    enable('systemd-networkd.service'),
    enable('systemd-networkd.socket', 'sockets.target'),
  ];
}

function networkManager({ interface: name, ipv4 }: DistroSetup): string[] {
  const method =
    ipv4 === 'dhcp' ? ['method=auto'] : ['method=manual', `address1=${ipv4.address},${ipv4.gateway}`];
  return [
    file(
      '/etc/NetworkManager/system-connections/lan.nmconnection',
      [
        '[connection]',
        'id=lan',
        'uuid=0b5ad2a1-51f9-4a28-9d5a-6d4f2b3c7e10',
        'type=ethernet',
        `interface-name=${name}`,
        '',
        '[ipv4]',
        ...method,
        '',
        '[ipv6]',
        'method=link-local',
      ],
      '600',
    ),
    enable('NetworkManager.service'),
  ];
}

const BY_MANAGER = { ifupdown, networkd, NetworkManager: networkManager } as const;

/** The script that the guest runs once, before its init, with its own root directory. */
export function distroSetup(options: DistroSetup): string {
  const { rename, extra } = options;
  return `${[
    'set -eu',
    'tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id',
    ...(rename === undefined
      ? []
      : [
          file('/etc/systemd/network/10-lan.link', [
            '[Match]',
            `Path=pci-${rename.pciPath}`,
            '',
            '[Link]',
            `Name=${rename.name}`,
          ]),
        ]),
    ...BY_MANAGER[options.manager](options),
    ...(extra === undefined ? [] : [extra]),
  ].join('\n')}\n`;
}
