/** AppArmor in a guest from a distribution: which profiles are enforced, and a profile that denies something. */
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import type { RunningVm } from '../../src/migration/vm.ts';
import { inGuest } from './migrating.ts';

/** The profile of Debian's DHCP client, as its package names it. */
export const DHCLIENT = '/{,usr/}sbin/dhclient';

/** The profiles that are enforced. */
export async function enforced(vm: RunningVm): Promise<string[]> {
  const text = await inGuest(vm, 'cat /sys/kernel/security/apparmor/profiles');
  return text.split('\n').flatMap((line) => /^(.*) \(enforce\)$/.exec(line)?.[1] ?? []);
}

/** What confines each running process of a name: `unconfined`, or a profile with its mode. */
export async function labelsOf(vm: RunningVm, name: string): Promise<string[]> {
  const script =
    'for each in /proc/[0-9]*; do [ "$(cat "$each/comm")" != "$1" ] || cat "$each/attr/current"; done 2>/dev/null; :';
  return (await inGuest(vm, script, [name])).split('\n').filter(Boolean);
}

/** From now on the DHCP client may not open the socket that it begins with. */
export async function denyDhclient(vm: RunningVm): Promise<void> {
  await inGuest(
    vm,
    'echo "audit deny network packet," >/etc/apparmor.d/local/sbin.dhclient; apparmor_parser -r /etc/apparmor.d/sbin.dhclient',
  );
}

const AGENT_PROFILE = `abi <abi/3.0>,
/usr/sbin/qemu-ga flags=(attach_disconnected) {
  capability, network, unix, dbus, signal, ptrace, mount, umount,
  /** rwmkl,
}
`;

/** From now on the agent may do anything but start a program. Its last answer comes before that. */
export async function denyAgent(vm: RunningVm): Promise<void> {
  await inGuest(
    vm,
    'printf %s "$1" >/etc/apparmor.d/usr.sbin.qemu-ga; apparmor_parser -a /etc/apparmor.d/usr.sbin.qemu-ga; ' +
      'systemd-run --quiet --on-active=1 systemctl restart qemu-guest-agent',
    [AGENT_PROFILE],
  );
  const limit = deadline('the agent with its profile', 120_000);
  const started = () => vm.agent.exec(['/bin/true'], { timeoutMs: 5000 }).catch(() => undefined);
  while ((await started())?.code !== 126) await delay(500, undefined, { signal: limit });
}
