/** What starts, stops, pauses and resumes the VMs of a host. Nothing runs against the record. */
import { renameSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { deadline } from '../../base/deadline.ts';
import { signalProcess, untilEnded } from '../../base/process.ts';
import { ShadowferryError } from '../../errors.ts';
import { qemuOfDirectory } from '../../hypervisor/qemu/of-directory.ts';
import { type QemuProcess, recordedQemu } from '../../hypervisor/qemu/process.ts';
import { directNics, type VmSpec, vmPaths } from '../../hypervisor/qemu/spec.ts';
import { cont, queryStatus, stop } from '../../hypervisor/qmp/commands.ts';
import { bootOwned } from '../../migration/vm.ts';
import { mayRun, type Override, type Permission } from '../../ownership/guard.ts';
import type { Ability } from './adopted.ts';
import { type Connection, qemuOf } from './connection.ts';
import { placeOnHost } from './placing.ts';
import type { VmRegistry } from './registry.ts';
import { askGuest, end, type StopOptions, type Stopped } from './shut-down.ts';
import { releaseDevices, removeTaps } from './tidy.ts';

const START_MS = 60_000;
const STORE_MS = 10_000;
const ANSWER_MS = 5_000;
/** From `quit`, or from the guest's end, to the end of the process; it frees the guest's memory meanwhile. */
const END_MS = 10_000;

/** Where the console of a VM that does not run any more is kept. */
export function keptConsole(registry: Pick<VmRegistry, 'host'>, vm: string): string {
  return join(dirname(registry.host.vmDirectory(vm)), '..', 'consoles', `${vm}.log`);
}

/** @throws VM_LIMITED when a VM was adopted and cannot do this */
function requireAbility(registry: VmRegistry, name: string, what: Ability['what'], done: string): void {
  const { definition } = registry.details(name);
  const missing = definition?.adopted?.abilities.find((each) => each.what === what && !each.can);
  if (missing !== undefined)
    throw new ShadowferryError('VM_LIMITED', { vm: name, what: done, why: missing.reason });
}

function wrongState(registry: VmRegistry, name: string, fallback: string): ShadowferryError {
  const { state, why = fallback } = registry.get(name);
  return new ShadowferryError('VM_STATE', { vm: name, host: registry.host.name, state, why });
}

/**
 * Whether this host may run the VM, asked before anything runs; one that nobody owns is registered first.
 * @throws START_REFUSED, and errors of the store
 */
async function permit(registry: VmRegistry, name: string, override?: Override): Promise<Permission> {
  const { ownership, host } = registry;
  const signal = () => deadline('the ownership store', STORE_MS);
  const ask = () =>
    mayRun(ownership, name, host.name, {
      signal: signal(),
      ...(override === undefined ? {} : { override }),
    });
  let permission = await ask();
  if (!permission.allowed && permission.record === undefined) {
    // nobody owns it, or the store cannot be asked: then this fails too
    await ownership.register(name, host.name, signal());
    permission = await ask();
  }
  if (permission.allowed) return permission;
  throw new ShadowferryError('START_REFUSED', { vm: name, host: host.name, why: permission.reason });
}

/** What this host takes for a VM before it starts, and gives back when the start fails. */
async function claim(registry: VmRegistry, spec: VmSpec): Promise<void> {
  for (const { direct } of directNics(spec)) {
    const { ownership, host } = registry;
    const request = { host: host.name, device: direct.device, vm: spec.name };
    await ownership.claimDevice(request, deadline('the ownership store', STORE_MS));
  }
}

/**
 * Starts a VM that is defined here.
 * @param override an operator's word for a store that cannot be asked; devices are not claimed then
 * @throws UNKNOWN_VM, VM_BUSY, VM_STATE when it is there already, START_REFUSED, DEVICE_CLAIMED_TWICE, UNKNOWN_DEVICE,
 *   NETWORK_MISSING, QEMU_START_FAILED; nothing of it is left then
 */
export async function startVm(registry: VmRegistry, name: string, override?: Override): Promise<Permission> {
  registry.get(name);
  return registry.exclusively(name, 'it is started', async () => {
    const { host } = registry;
    await registry.look(name);
    if (registry.connection(name) === undefined) await registry.find(name);
    if (registry.connection(name) !== undefined || registry.get(name).state === 'incoming')
      throw wrongState(registry, name, 'it is there already');
    requireAbility(registry, name, 'start', 'started');
    const { definition } = registry.details(name);
    if (definition === undefined) throw wrongState(registry, name, 'it was never defined here');
    const spec = placeOnHost(host, definition.spec);
    refuseLeftover(registry, name);
    const permission = await permit(registry, name, override);
    const owned = permission.record !== undefined;
    try {
      if (owned) await claim(registry, spec);
      rmSync(keptConsole(registry, name), { force: true });
      const vm = await bootOwned(host, spec, deadline(`starting VM "${name}"`, START_MS));
      registry.started(vm, permission.record?.epoch);
    } catch (error) {
      await removeTaps(host, spec).catch(() => {});
      if (owned) await releaseDevices(registry.ownership, host.name, spec, STORE_MS).catch(() => {});
      throw error;
    }
    await registry.look(name);
    return permission;
  });
}

/** A VM that left may have a QEMU here still, kept for its pages: a second one would share its name and sockets. */
function refuseLeftover(registry: VmRegistry, name: string): void {
  const [left] = qemuOfDirectory(registry.host.vmDirectory(name));
  if (left === undefined) return;
  throw wrongState(registry, name, `a QEMU of it is still there (process ${left.pid})`);
}

/**
 * Stops a VM: the guest is asked by its agent, then by ACPI, and QEMU is ended when it has not shut down in time. Its
 * record stays; its taps and devices are free afterwards.
 * @throws UNKNOWN_VM, VM_BUSY, VM_STATE for one that is on its way or on another host
 */
export async function stopVm(registry: VmRegistry, name: string, options: StopOptions): Promise<Stopped> {
  registry.get(name);
  return registry.exclusively(name, 'it is stopped', async () => {
    await registry.look(name);
    if (registry.connection(name) === undefined) await registry.find(name);
    const connection = registry.connection(name);
    const { state } = registry.get(name);
    if (state === 'incoming' || state === 'gone') throw wrongState(registry, name, 'it does not run here');
    if (connection === undefined) return endUnheard(registry, name, options);
    const qemu = qemuOf(connection);
    await keepConsole(registry, name, qemu);
    const stopped = await askGuest(connection, options);
    if (stopped.how === 'forced') await end(qemu);
    await registry.look(name);
    rmSync(qemu.directory, { recursive: true, force: true });
    return stopped;
  });
}

/** A QEMU whose monitor does not answer is ended by force, where that was asked for. */
async function endUnheard(registry: VmRegistry, name: string, { force }: StopOptions): Promise<Stopped> {
  const directory = registry.host.vmDirectory(name);
  const recorded = recordedQemu(directory);
  if (recorded === undefined) return { how: 'was-not-running', why: 'it has no QEMU here' };
  if (!force) throw wrongState(registry, name, 'its monitor does not answer; only "force" ends it');
  signalProcess(recorded.identity, 'SIGKILL');
  await untilEnded(recorded.identity, END_MS);
  await registry.find(name);
  rmSync(directory, { recursive: true, force: true });
  return { how: 'forced', why: 'its monitor does not answer' };
}

/** The file goes with the VM's directory; QEMU writes on into it, whatever it is called. */
async function keepConsole(registry: VmRegistry, name: string, qemu: QemuProcess): Promise<void> {
  const kept = keptConsole(registry, name);
  try {
    await mkdir(dirname(kept), { recursive: true, mode: 0o700 });
    renameSync(vmPaths(qemu.directory).serial, kept);
  } catch {
    // it has none: nothing is lost
  }
}

async function connectionFor(registry: VmRegistry, name: string): Promise<Connection> {
  if (registry.connection(name) === undefined) await registry.find(name);
  const connection = registry.connection(name);
  const { state } = registry.get(name);
  if (connection === undefined || (state !== 'running' && state !== 'paused'))
    throw wrongState(registry, name, 'it does not run here');
  return connection;
}

/** Stops the vCPUs. @throws UNKNOWN_VM, VM_BUSY, VM_STATE */
export async function pauseVm(registry: VmRegistry, name: string): Promise<void> {
  registry.get(name);
  await registry.exclusively(name, 'it is paused', async () => {
    const { monitor } = qemuOf(await connectionFor(registry, name));
    await stop(monitor, { signal: deadline('the monitor', ANSWER_MS) });
    await registry.look(name);
  });
}

/** Run states from which a VM may go on: in others its state is elsewhere, or its machine has ended. */
const RESUMABLE = ['paused', 'running', 'prelaunch', 'suspended', 'io-error', 'watchdog'];

/**
 * Lets the vCPUs run on.
 * @throws UNKNOWN_VM, VM_BUSY, VM_STATE, START_REFUSED when the record names another host
 */
export async function resumeVm(registry: VmRegistry, name: string, override?: Override): Promise<Permission> {
  registry.get(name);
  return registry.exclusively(name, 'it is resumed', async () => {
    const { monitor } = qemuOf(await connectionFor(registry, name));
    const { status } = await queryStatus(monitor, { signal: deadline('the monitor', ANSWER_MS) });
    if (!RESUMABLE.includes(status)) {
      const why = `QEMU says "${status}": its state may have gone to another host, or its machine has ended`;
      throw new ShadowferryError('VM_STATE', { vm: name, host: registry.host.name, state: 'paused', why });
    }
    const permission = await permit(registry, name, override);
    registry.permitted(name, permission.record?.epoch);
    await cont(monitor, { signal: deadline('the monitor', ANSWER_MS) });
    await registry.look(name);
    return permission;
  });
}

/**
 * A VM is not known here any more: its definition goes, and its record where it names this host.
 * @throws UNKNOWN_VM, VM_BUSY, VM_STATE while it is here
 */
export async function forgetVm(
  registry: VmRegistry,
  name: string,
): Promise<{ record: 'forgotten' | 'kept'; why: string }> {
  registry.get(name);
  return registry.exclusively(name, 'it is forgotten', async () => {
    await registry.look(name);
    if (registry.connection(name) === undefined) await registry.find(name);
    const { state } = registry.get(name);
    if (registry.connection(name) !== undefined || (state !== 'stopped' && state !== 'gone'))
      throw wrongState(registry, name, 'stop it first');
    const { ownership, host } = registry;
    const signal = deadline('the ownership store', STORE_MS);
    const record = await ownership.read(name, signal);
    const ours = record?.owner === host.name;
    // with its claims, also those on this host that its end left
    if (ours) await ownership.forget(name, signal);
    else await releaseDevices(ownership, host.name, registry.get(name).spec, STORE_MS);
    await removeTaps(host, registry.get(name).spec);
    rmSync(keptConsole(registry, name), { force: true });
    await registry.forget(name);
    if (ours) return { record: 'forgotten', why: 'this host owned it' };
    const why =
      record === undefined ? 'nobody owned it' : `host "${record.owner}" owns it (epoch ${record.epoch})`;
    return { record: 'kept', why };
  });
}
