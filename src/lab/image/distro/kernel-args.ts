import { guestKernelArgs } from '../kernel-args.ts';

/** What AppArmor and its complaints need to be on. */
const WITH_APPARMOR: ReadonlySet<string> = new Set(['apparmor=0', 'audit=0']);

/**
 * Kernel command line of a distribution guest: udev names interfaces.
 * @param apparmor whether profiles are enforced, as Debian does, and denials noted in the kernel's log; loading them
 *   takes 15 s of the first boot under an emulator
 */
export function distroKernelArgs({ apparmor = false }: { apparmor?: boolean } = {}): string {
  return [
    ...guestKernelArgs()
      .split(' ')
      .filter((word) => word !== 'net.ifnames=0' && !(apparmor && WITH_APPARMOR.has(word))),
    'systemd.show_status=false',
    'systemd.gpt_auto=0',
  ].join(' ');
}
