/** Learns what a host's device can do, by booting a small VM that has it and nothing else. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { deadline } from '../base/deadline.ts';
import { ShadowferryError } from '../errors.ts';
import type { GuestShell } from '../guest/shell.ts';
import type { Host, HostDevice } from '../host/host.ts';
import { guestPciPath } from '../hypervisor/qemu/pci.ts';
import { findQemu } from '../hypervisor/qemu/process.ts';
import { nicIds } from '../hypervisor/qemu/spec.ts';
import { endVm, findVm, type RunningVm } from '../migration/vm.ts';
import { abilitiesOf } from '../shadow/net/abilities.ts';
import { captureShadow } from '../shadow/net/guest.ts';
import type { DeviceAbilities, DeviceIdentity } from '../shadow/net/model.ts';
import { guestKernelArgs } from './image/kernel-args.ts';
import type { Lab } from './lab.ts';
import { lockVm } from './vm-lock.ts';

const BOOT_MS = 90_000;
const LOOK_MS = 30_000;
const END_MS = 15_000;

/** The VM that a device is looked at in; one that was left behind is found by its name. */
const probeName = (host: Host, device: HostDevice) => `learn-${host.name}-${device.id}`;

/**
 * Boots a VM with the device, which nobody configures: what it shows first is what its driver begins with; raised, it
 * shows the rest. Both are remembered by PCI id, driver, and version of driver and kernel. The VM and its claim on the
 * device are gone afterwards, also when anything fails.
 * @throws DEVICE_IN_USE, MIGRATION_BUSY when another process learns the same device, GUEST_LACKS when the guest has no
 *   driver for it, and what booting throws
 */
export async function learnDevice(lab: Lab, host: Host, device: HostDevice): Promise<DeviceAbilities> {
  const name = probeName(host, device);
  const holder = (await lab.ownership.claims(host.name)).find((claim) => claim.device === device.id)?.vm;
  if (holder !== undefined && holder !== name)
    throw new ShadowferryError('DEVICE_IN_USE', { device: device.id, host: host.name, vm: holder });
  using _lock = lockVm(lab.directory, name);
  await endProbe(lab, host, device);
  try {
    const vm = await bootProbe(lab, host, device);
    try {
      const learned = await lookAtDevice(vm);
      await lab.abilities.remember(learned);
      return learned;
    } finally {
      await endVm(vm);
    }
  } finally {
    await endProbe(lab, host, device);
  }
}

function bootProbe(lab: Lab, host: Host, device: HostDevice): Promise<RunningVm> {
  const { kernel, initrd } = lab.image;
  return lab.boot({
    name: probeName(host, device),
    host: host.name === 'a' ? 'a' : 'b',
    device: device.id,
    standby: 'none',
    guest: { kernel, initrd, append: guestKernelArgs(), setup: ':\n', disks: [], bootMs: BOOT_MS },
  });
}

/** Ends what there is of the VM, whoever left it. */
async function endProbe(lab: Lab, host: Host, device: HostDevice): Promise<void> {
  const name = probeName(host, device);
  const signal = deadline(`the end of VM "${name}"`, END_MS);
  const qemu = await findQemu(host.vmDirectory(name), signal);
  if (qemu !== undefined) {
    await qemu.monitor.close();
    await endVm(await findVm(host, name, signal));
  }
  rmSync(host.vmDirectory(name), { recursive: true, force: true });
  rmSync(join(lab.directory, `setup-${name}.sh`), { force: true });
  await lab.ownership.releaseDevice({ host: host.name, device: device.id, vm: name });
  await lab.ownership.forget(name);
}

/** What a device shows that nobody has touched, and then with its interface raised. */
async function lookAtDevice(vm: RunningVm): Promise<DeviceAbilities> {
  const [nic] = vm.qemu.spec.nics;
  if (nic === undefined) throw new ShadowferryError('INTERNAL', { why: 'a VM without a NIC was booted' });
  const signal = deadline('looking at the device', LOOK_MS);
  const pciPath = await guestPciPath(vm.qemu.monitor, nicIds(nic).directPort);
  const identity: DeviceIdentity = { mac: nic.mac, pciPath };
  const fresh = abilitiesOf(await captureShadow(vm.agent, identity, undefined, signal), true);
  await raise(vm.agent, identity, signal);
  const raised = abilitiesOf(await captureShadow(vm.agent, identity, undefined, signal));
  if (fresh === undefined || raised === undefined) {
    const how =
      'Its kernel has no driver for this device, or has not loaded it; see "lab status" for its console.';
    throw new ShadowferryError('GUEST_LACKS', { what: `a network device at ${pciPath}`, how });
  }
  return { ...raised, ...(fresh.defaults === undefined ? {} : { defaults: fresh.defaults }) };
}

/** Some drivers say what interrupts and queues they have only then. */
async function raise(shell: GuestShell, { pciPath }: DeviceIdentity, signal: AbortSignal): Promise<void> {
  const script = `
for entry in "/sys/bus/pci/devices/$1/net/"* "/sys/bus/pci/devices/$1"/virtio*/net/*; do
  if [ -e "$entry/ifindex" ]; then ip link set dev "\${entry##*/}" up; fi
done
`;
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
  await shell.exec(['/bin/sh', '-s', '--', pciPath], { input: script, env, check: true, signal });
}
