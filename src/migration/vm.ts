/** A VM that runs (or waits) on a host, with the connections that drive it. */
import { existsSync, rmSync } from 'node:fs';
import { z } from 'zod';
import { ShadowferryError } from '../errors.ts';
import { GuestAccess } from '../guest/access.ts';
import { SshShell } from '../guest/ssh.ts';
import { type Host, tapName } from '../host/host.ts';
import { AgentClient } from '../hypervisor/agent/client.ts';
import { deviceModel } from '../hypervisor/qemu/device-model.ts';
import { qemuOfDirectory } from '../hypervisor/qemu/of-directory.ts';
import {
  endQemu,
  findQemu,
  type QemuProcess,
  recordedSpec,
  recordSpec,
  startQemu,
} from '../hypervisor/qemu/process.ts';
import {
  channelPorts,
  type NicSpec,
  nicIds,
  type Placement,
  type VmSpec,
  vmPaths,
} from '../hypervisor/qemu/spec.ts';
import { cont, qomList, setLink } from '../hypervisor/qmp/commands.ts';
import type { OwnershipStore } from '../ownership/store.ts';
import { GuestChannel } from '../shadow/channel.ts';

export interface RunningVm {
  readonly host: Host;
  qemu: QemuProcess;
  /** The guest's inside, by its agent or by SSH. */
  readonly agent: GuestAccess;
  /** The line to the replay program of each NIC that may have one, by the NIC's id. */
  readonly channels: ReadonlyMap<string, GuestChannel>;
}

/** The line to the replay program of a NIC. @throws INTERNAL for a NIC that has none */
export function channelOf(vm: RunningVm, nic: string): GuestChannel {
  const channel = vm.channels.get(nic);
  if (channel === undefined)
    throw new ShadowferryError('INTERNAL', { why: `NIC "${nic}" has no line to its program` });
  return channel;
}

/** Taps that the VM's parts need on a host; `direct` only where a direct device is plugged from the start. */
export function tapsOf(spec: VmSpec, direct: 'plugged' | 'none'): Placement['taps'] {
  return Object.fromEntries(
    spec.nics.map((nic) => [
      nic.id,
      {
        ...(nic.direct !== undefined && direct === 'plugged'
          ? { direct: tapName(spec.name, nic.id, 'direct') }
          : {}),
        ...(nic.standby !== 'none' ? { standby: tapName(spec.name, nic.id, 'standby') } : {}),
      },
    ]),
  );
}

/** Every tap that a VM may have on a host, with the number of its queues. */
export function allTaps(spec: VmSpec): { tap: string; network: string; queues: number }[] {
  return spec.nics.flatMap((nic) => [
    ...(nic.direct === undefined
      ? []
      : [
          {
            tap: tapName(spec.name, nic.id, 'direct'),
            network: nic.network,
            queues: deviceModel(nic.direct.model).queues,
          },
        ]),
    ...(nic.standby === 'none'
      ? []
      : [{ tap: tapName(spec.name, nic.id, 'standby'), network: nic.network, queues: 1 }]),
  ]);
}

function guestAccess(host: Host, { name, guest }: VmSpec, agent: AgentClient): GuestAccess {
  const ssh =
    guest.ssh === undefined ? undefined : new SshShell({ target: guest.ssh, prefix: host.guestPrefix ?? [] });
  return new GuestAccess({ vm: name, spec: guest, agent, ssh });
}

async function connectVm(host: Host, qemu: QemuProcess, signal: AbortSignal): Promise<RunningVm> {
  const channels = new Map<string, GuestChannel>();
  try {
    for (const [n, { nic, socket }] of channelPorts(qemu.spec, qemu.directory).entries()) {
      // started when a VM had one port only: it can be looked at, and preflight says what it lacks
      if (n > 0 && !existsSync(socket)) continue;
      channels.set(nic, await GuestChannel.connect(socket, signal));
    }
    const path = vmPaths(qemu.directory).agent;
    const client = await AgentClient.connect({ path, name: `${qemu.spec.name}@${host.name}`, signal });
    const agent = guestAccess(host, qemu.spec, client);
    return { host, qemu, agent, channels };
  } catch (error) {
    for (const channel of channels.values()) channel.close();
    throw error;
  }
}

/** Starts QEMU for a VM whose taps exist, vCPUs stopped, and connects everything. On failure nothing is left running. */
export async function launchVm(
  host: Host,
  spec: VmSpec,
  options: { incoming: boolean; direct: 'plugged' | 'none'; signal: AbortSignal },
): Promise<RunningVm> {
  const placement: Placement = {
    binary: host.qemu.binary,
    accelerator: host.qemu.accelerator,
    directory: host.vmDirectory(spec.name),
    taps: tapsOf(spec, options.direct),
    incoming: options.incoming,
  };
  const { signal } = options;
  const qemu = await startQemu({ spec, host: host.name, placement, prefix: host.prefix, signal });
  try {
    return await connectVm(host, qemu, signal);
  } catch (error) {
    await endQemu(qemu);
    throw error;
  }
}

/** Boots a VM on a host: registers the owner, claims its devices, and starts it. */
export async function bootVm(
  host: Host,
  spec: VmSpec,
  ownership: OwnershipStore,
  signal: AbortSignal,
): Promise<RunningVm> {
  await ownership.register(spec.name, host.name);
  for (const nic of spec.nics) {
    if (nic.direct)
      await ownership.claimDevice({ host: host.name, device: nic.direct.device, vm: spec.name });
  }
  return bootOwned(host, spec, signal);
}

/**
 * Boots a VM that this host owns, with its devices claimed: makes its taps and starts it. When it fails no QEMU is left;
 * taps may be.
 */
export async function bootOwned(host: Host, spec: VmSpec, signal: AbortSignal): Promise<RunningVm> {
  for (const { tap, network, queues } of allTaps(spec)) await host.createTap(tap, network, queues);
  const vm = await launchVm(host, spec, { incoming: false, direct: 'plugged', signal });
  try {
    for (const nic of spec.nics) {
      // a standby's link is down until it is needed: the switch must not see one MAC on two ports
      if (nic.direct && nic.standby === 'virtio') await setStandbyLink(vm, nic.id, false);
    }
    vm.qemu = recordSpec(vm.qemu, { ...spec, machine: await concreteMachine(vm, spec.machine) });
    await cont(vm.qemu.monitor);
    return vm;
  } catch (error) {
    await endQemu(vm.qemu);
    throw error;
  }
}

const Machines = z.array(z.object({ name: z.string(), alias: z.string().optional() }));

/** The versioned type behind an alias such as `q35`, which means another machine to another QEMU. */
async function concreteMachine(vm: RunningVm, machine: string): Promise<string> {
  const machines = await vm.qemu.monitor.execute('query-machines', undefined, { schema: Machines });
  return machines.find(({ alias }) => alias === machine)?.name ?? machine;
}

export async function setStandbyLink(vm: RunningVm, nic: string, up: boolean): Promise<void> {
  await setLink(vm.qemu.monitor, nicIds({ id: nic }).standbyDevice, up);
}

/** Whether QEMU has the direct device of a NIC plugged now. */
export async function isPlugged(vm: RunningVm, nic: Pick<NicSpec, 'id'>): Promise<boolean> {
  const devices = await qomList(vm.qemu.monitor, '/machine/peripheral');
  return devices.some(({ name }) => name === nicIds(nic).directDevice);
}

/** Connects to a VM that an earlier process started. @throws UNKNOWN_VM when it does not run on this host. */
export async function findVm(host: Host, name: string, signal: AbortSignal): Promise<RunningVm> {
  const qemu = await findQemu(host.vmDirectory(name), signal);
  if (qemu === undefined)
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: name, allowed: `VMs on ${host.name}` });
  return connectVm(host, qemu, signal);
}

/** Closes the connections; the VM runs on. */
export async function disconnectVm(vm: RunningVm): Promise<void> {
  for (const channel of vm.channels.values()) channel.close();
  await vm.agent.close();
  await vm.qemu.monitor.close();
}

/** Ends a VM's QEMU and removes its directory and taps from the host. Safe to repeat. */
export async function endVm(vm: RunningVm): Promise<void> {
  for (const channel of vm.channels.values()) channel.close();
  await vm.agent.close();
  await endQemu(vm.qemu);
  rmSync(vm.qemu.directory, { recursive: true, force: true });
  for (const { tap } of allTaps(vm.qemu.spec)) await vm.host.removeTap(tap);
}

/**
 * Removes what a QEMU that was killed leaves on a host: its directory, and its taps. Touches nothing while a QEMU of the
 * VM is there. Safe to repeat.
 */
export async function clearDeadVm(host: Host, name: string): Promise<void> {
  const directory = host.vmDirectory(name);
  if (qemuOfDirectory(directory).length > 0) return;
  const spec = recordedSpec(directory);
  for (const { tap } of spec === undefined ? [] : allTaps(spec)) await host.removeTap(tap);
  // last: it names the taps
  rmSync(directory, { recursive: true, force: true });
}
