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
 * Names shadow interfaces that have this MAC and stand without their direct device: active-backup bonds, and failover
 * masters, which are interfaces of the standby's PCI function with a member of the same function.
 */
const HEADLESS = `
for dir in /sys/class/net/*; do
  value=
  { read -r value <"$dir/address"; } 2>/dev/null
  [ "$value" = "$1" ] || continue
  if { read -r mode rest <"$dir/bonding/mode"; } 2>/dev/null; then
    [ "$mode" = active-backup ] && printf '%s\\n' "\${dir##*/}"
  elif [ -e "$dir/device" ]; then
    for lower in "$dir"/lower_*; do
      if [ -e "$lower" ]; then printf '%s\\n' "\${dir##*/}"; break; fi
    done
  fi
done
exit 0
`;

/** The state of the shadow interface above a device that is gone; undefined when none, or more than one, has its MAC. */
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
  const [name, ...others] = found.stdout.split('\n').filter((line) => line !== '');
  if (name === undefined || others.length > 0) return undefined;
  const args = captureArgs(identity, { interface: name });
  const { stdout } = await shell.exec(['/bin/sh', '-s', '--', ...args], {
    input: captureScript(),
    ...options,
  });
  const standbyPciPath = site.standby?.pciPath;
  return parseCapture(stdout, identity, standbyPciPath === undefined ? {} : { standbyPciPath });
}
