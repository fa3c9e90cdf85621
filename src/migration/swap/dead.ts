/** What can be learned of an interface whose device may be dead. */
import { captureArgs, captureScript, parseCapture } from '../../shadow/net/capture.ts';
import type { NetShadow } from '../../shadow/net/model.ts';
import type { SwapSite } from './site.ts';

const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/** Says `alive` when an interface of the PCI function has a link. A name may begin with a dot; all are tried. */
const ALIVE = `
for dir in "/sys/bus/pci/devices/$1"/net/* "/sys/bus/pci/devices/$1"/net/.[!.]* "/sys/bus/pci/devices/$1"/virtio[0-9]*/net/*; do
  value=0
  { read -r value <"$dir/carrier"; } 2>/dev/null || continue
  if [ "$value" = 1 ]; then echo alive; exit 0; fi
done
exit 0
`;

/** Whether the old device has a driver and a link. */
export async function isAlive(site: SwapSite, signal: AbortSignal): Promise<boolean> {
  const { pciPath } = site.devices.old.identity;
  const { stdout } = await site.shell.exec(['/bin/sh', '-s', '--', pciPath], {
    input: ALIVE,
    env: ENVIRONMENT,
    check: true,
    signal,
  });
  return stdout.trim() === 'alive';
}

/**
 * Names shadow interfaces that may be the one that lost its device, with how that is seen: `mac` has its MAC, `empty` is
 * an active-backup bond without members, for a bond that loses its last member takes a MAC at random. A failover master
 * is an interface of the standby's PCI function with a member of the same function.
 */
const HEADLESS = `
for dir in /sys/class/net/*; do
  value=
  { read -r value <"$dir/address"; } 2>/dev/null
  if { read -r mode rest <"$dir/bonding/mode"; } 2>/dev/null; then
    [ "$mode" = active-backup ] || continue
    members=
    { read -r members <"$dir/bonding/slaves"; } 2>/dev/null
    if [ "$value" = "$1" ]; then
      printf 'mac %s\n' "\${dir##*/}"
    elif [ -z "$members" ]; then
      printf 'empty %s\n' "\${dir##*/}"
    fi
  elif [ "$value" = "$1" ] && [ -e "$dir/device" ]; then
    for lower in "$dir"/lower_*; do
      if [ -e "$lower" ]; then printf 'mac %s\n' "\${dir##*/}"; break; fi
    done
  fi
done
exit 0
`;

/** The shadow interface without its device: the one with its MAC, else the one bond without members. Pure. */
export function headlessInterface(text: string): string | undefined {
  const lines = text.split('\n').filter((line) => line !== '');
  const named = (how: string) =>
    lines.filter((line) => line.startsWith(`${how} `)).map((line) => line.slice(how.length + 1));
  const [sure, likely] = [named('mac'), named('empty')];
  const candidates = sure.length > 0 ? sure : likely;
  return candidates.length === 1 ? candidates[0] : undefined;
}

/** The state of the shadow interface above a device that is gone; undefined when it cannot be told which one that is. */
export async function captureWithoutDevice(
  site: SwapSite,
  signal: AbortSignal,
): Promise<NetShadow | undefined> {
  const { shell } = site;
  const { identity } = site.devices.old;
  const options = { env: ENVIRONMENT, signal };
  const found = await shell.exec(['/bin/sh', '-s', '--', identity.mac], {
    input: HEADLESS,
    check: true,
    ...options,
  });
  const name = headlessInterface(found.stdout);
  if (name === undefined) return undefined;
  const args = captureArgs(identity, { away: { interface: name } });
  const { stdout } = await shell.exec(['/bin/sh', '-s', '--', ...args], {
    input: captureScript(),
    ...options,
  });
  const standbyPciPath = site.standby?.pciPath;
  const shadow = parseCapture(stdout, identity, standbyPciPath === undefined ? {} : { standbyPciPath });
  const { standIn, link } = shadow;
  const bare = standIn.kind === 'bond' && standIn.members.length === 0;
  return bare ? { ...shadow, link: { ...link, mac: identity.mac } } : shadow;
}
