/** This host, from the configuration of its daemon. */

import { join } from 'node:path';
import { cacheDirectory } from '../../base/cache-dir.ts';
import { deadline } from '../../base/deadline.ts';
import { urlHost } from '../../base/url-host.ts';
import type { Host, HostDevice } from '../../host/host.ts';
import { LinuxHost } from '../../host/linux/host.ts';
import { probeAccelerator } from '../../hypervisor/qemu/accelerator.ts';
import type { DaemonConfig } from '../config/model.ts';
import { diskTls } from './disk-tls.ts';

/** KVM is tried with a limit of its own, and the answer is kept until the next boot. */
const PROBE_MS = 20_000;

type HostConfig = Pick<
  DaemonConfig,
  'host' | 'state' | 'networks' | 'devices' | 'qemu' | 'migration' | 'listen' | 'storage'
>;

/** Where QEMU takes streams: what is configured, else where the daemon listens, else this machine alone. */
export function migrationAddressOf({ migration, listen }: Pick<HostConfig, 'migration' | 'listen'>): string {
  const address = migration.address ?? listen?.address.host ?? '127.0.0.1';
  return urlHost(address);
}

/** The devices that VMs can have today. Real ones are not among them: see `realDevices`. */
function emulated(devices: HostConfig['devices']): HostDevice[] {
  return devices.flatMap((device) => {
    if (!('model' in device)) return [];
    const { id, model, network } = device;
    return [{ id, kind: 'emulated-nic', model, network } satisfies HostDevice];
  });
}

/** Devices of the configuration that are shown and that no VM can be given yet. */
export function realDevices(devices: HostConfig['devices']): string[] {
  return devices.flatMap((device) => ('address' in device ? [`${device.id} (${device.address})`] : []));
}

/** Directory of the VMs' directories. */
export const vmsDirectory = ({ state }: Pick<HostConfig, 'state'>): string => join(state, 'vms');

/** @returns the host, with the accelerator that works here */
export async function thisHost(config: HostConfig): Promise<Host> {
  const { binary, accelerator } = config.qemu;
  const signal = deadline('trying KVM', PROBE_MS);
  const probe = () => probeAccelerator({ signal, binary, cacheDir: cacheDirectory() });
  return new LinuxHost({
    name: config.host,
    migrationAddress: migrationAddressOf(config),
    qemu: { binary, accelerator: accelerator === 'auto' ? (await probe()).kind : accelerator },
    directory: vmsDirectory(config),
    networks: config.networks,
    devices: emulated(config.devices),
    diskDirectories: config.storage.directories,
    diskTls: diskTls(join(config.state, 'disk-tls'), config.listen),
  });
}
