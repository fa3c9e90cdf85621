import { guestKernelArgs } from '../kernel-args.ts';

/**
 * Kernel command line of a distribution guest: udev names interfaces.
 * @param apparmor whether profiles are enforced, as Debian does; loading them takes long under an emulator
 */
export function distroKernelArgs({ apparmor = false }: { apparmor?: boolean } = {}): string {
  return [
    ...guestKernelArgs()
      .split(' ')
      .filter((word) => word !== 'net.ifnames=0' && !(apparmor && word === 'apparmor=0')),
    'systemd.show_status=false',
    'systemd.gpt_auto=0',
  ].join(' ');
}
