/**
 * A QEMU that runs already is taken in by its QMP socket. What it is made of is learned from itself; what cannot be
 * learned the caller says. One that is built as ours are can do all that ours can. Any other is watched, paused and
 * stopped, and it is said why it cannot do more.
 */
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { deadline } from '../../base/deadline.ts';
import { ShadowferryError, toShadowferryError } from '../../errors.ts';
import type { GuestAccessSpec } from '../../guest/access.ts';
import { AgentClient } from '../../hypervisor/agent/client.ts';
import { layoutDifferences } from '../../hypervisor/qemu/layout.ts';
import { type Learned, learnQemu } from '../../hypervisor/qemu/learn.ts';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import { commandLineOf, socketOwner } from '../../hypervisor/qemu/socket-owner.ts';
import {
  channelPorts,
  directNics,
  nicIds,
  type VmSpec,
  vmPaths,
  WATCH_PORT,
} from '../../hypervisor/qemu/spec.ts';
import { QmpClient } from '../../hypervisor/qmp/client.ts';
import { tapsOf } from '../../migration/vm.ts';
import { abilitiesOf } from './abilities.ts';
import type { Adopted } from './adopted.ts';
import { specFrom } from './learned-spec.ts';
import { placeOnHost } from './placing.ts';
import type { VmRegistry } from './registry.ts';
import { releaseDevices } from './tidy.ts';

const GREET_MS = 5_000;
const LEARN_MS = 15_000;
const STORE_MS = 10_000;
/** An agent answers within a second, also under emulation. */
const AGENT_MS = 3_000;

export interface AdoptOptions {
  socket: string;
  name?: string | undefined;
  /** Devices of this host, by the NIC. */
  devices: Readonly<Record<string, string>>;
  /** Networks, by the NIC. */
  networks: Readonly<Record<string, string>>;
  firmwareFiles: VmSpec['firmwareFiles'];
  guest: GuestAccessSpec;
  /** Longest wait for the monitor's greeting, ms; it greets at once, unless another program is connected to it. */
  greetMs?: number;
}

const refused = (socket: string, why: string, cause?: unknown) =>
  new ShadowferryError('ADOPT_REFUSED', { socket, why }, { cause });

async function connectTo(socket: string, greetMs: number): Promise<QmpClient> {
  if (!existsSync(socket)) throw refused(socket, 'there is no such socket');
  const signal = deadline('the greeting of the monitor', greetMs);
  try {
    return await QmpClient.connect({ path: socket, name: `the QEMU at ${socket}`, signal });
  } catch (error) {
    const known = toShadowferryError(error);
    if (known.code !== 'DEADLINE') throw refused(socket, known.message, error);
    const why =
      'its monitor says nothing: another program is connected to it (libvirt is, all the time), and a monitor serves one; give QEMU a second one with "-qmp", or end that program';
    throw refused(socket, why, error);
  }
}

/** Paths of ours that lead to what a foreign QEMU has elsewhere. */
function linkPlaces(
  registry: VmRegistry,
  spec: VmSpec,
  learned: Learned,
  socket: string,
  serial?: string,
): void {
  const directory = registry.host.vmDirectory(spec.name);
  const paths = vmPaths(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const link = (target: string | undefined, path: string) => {
    if (target === undefined || target === path) return;
    rmSync(path, { force: true });
    symlinkSync(target, path);
  };
  const ofPort = (name: string) => learned.sockets.get(learned.ports.get(name) ?? '');
  link(socket, paths.monitor);
  link(serial, paths.serial);
  link(ofPort('org.qemu.guest_agent.0'), paths.agent);
  link(ofPort(WATCH_PORT), paths.watch);
  for (const { name, socket: path } of channelPorts(spec, directory)) link(ofPort(name), path);
}

/** Whether somebody answers on the agent's port now; where there is no such port, nobody does. */
async function agentAnswers(learned: Learned): Promise<boolean> {
  const path = learned.sockets.get(learned.ports.get('org.qemu.guest_agent.0') ?? '');
  if (path === undefined || !learned.running) return false;
  try {
    const signal = deadline('the guest agent', AGENT_MS);
    await using agent = await AgentClient.connect({ path, name: 'the agent', signal });
    await agent.ping({ signal });
    return true;
  } catch {
    return false;
  }
}

/** The file of the serial console, as its command line names it. */
function serialOf(words: readonly string[]): string | undefined {
  const file = words.map((word) => /^file,id=ser0,path=([^,]+)/.exec(word)?.[1]).find(Boolean);
  return file?.startsWith('/') ? file : undefined;
}

/**
 * Adopts. Nothing of the VM is changed; on failure nothing is written down.
 * @returns its name
 * @throws ADOPT_REFUSED with the reason, VM_EXISTS, VM_BUSY, NOT_OWNER when another host owns a VM of this name,
 *   DEVICE_CLAIMED_TWICE, UNKNOWN_DEVICE, INPUT_FIELD
 */
export async function adoptVm(registry: VmRegistry, options: AdoptOptions): Promise<string> {
  const { socket } = options;
  refuseKnown(registry, socket);
  const monitor = await connectTo(socket, options.greetMs ?? GREET_MS);
  try {
    const learned = await learnQemu(monitor, deadline('asking QEMU what it is', LEARN_MS));
    if (learned.migrating) throw refused(socket, 'a migration of it is under way');
    if (learned.status === 'inmigrate') throw refused(socket, 'it waits for a migration');
    const identity = socketOwner(socket);
    if (identity === undefined)
      throw refused(socket, 'its process cannot be found; is it in another network namespace?');
    const words = commandLineOf(identity.pid);
    const { spec, missing } = specFrom(learned, { ...options, words });
    return await registry.exclusively(spec.name, 'it is adopted', async () => {
      if (registry.has(spec.name)) {
        const { state } = registry.get(spec.name);
        throw new ShadowferryError('VM_EXISTS', { vm: spec.name, host: registry.host.name, state });
      }
      const placed = placeOnHost(registry.host, spec);
      const differences = [...missing, ...differencesOf(registry, learned, placed)];
      const whole = differences.length === 0;
      const serial = serialOf(words);
      const adopted: Adopted = {
        ...{ socket, whole },
        abilities: abilitiesOf({
          ...{ learned, spec: placed, differences, serial },
          agent: await agentAnswers(learned),
        }),
      };
      await own(registry, placed, async () => {
        linkPlaces(registry, placed, learned, socket, serial);
        const directory = registry.host.vmDirectory(placed.name);
        recordSpec({ spec: placed, host: registry.host.name, directory, identity, monitor }, placed);
        registry.define({ spec: placed, origin: 'adopted', adopted });
      });
      // a monitor serves one: ours is made anew by the way of all others
      await monitor.close();
      await registry.find(placed.name);
      return placed.name;
    });
  } finally {
    await monitor.close();
  }
}

/** @throws VM_EXISTS for the socket of a VM that is connected here already */
function refuseKnown(registry: VmRegistry, socket: string): void {
  for (const { name, state } of registry.list()) {
    const paths = [
      registry.details(name).definition?.adopted?.socket,
      vmPaths(registry.host.vmDirectory(name)).monitor,
    ];
    if (registry.connection(name) !== undefined && paths.includes(socket))
      throw new ShadowferryError('VM_EXISTS', { vm: name, host: registry.host.name, state });
  }
}

function differencesOf(registry: VmRegistry, learned: Learned, spec: VmSpec): string[] {
  const { host } = registry;
  const there = new Set(learned.devices.map(({ id }) => id));
  const plugged = new Set(spec.nics.filter((nic) => there.has(nicIds(nic).directDevice)).map(({ id }) => id));
  return layoutDifferences(
    learned,
    spec,
    {
      ...{ binary: host.qemu.binary, accelerator: host.qemu.accelerator, incoming: false },
      ...{ directory: host.vmDirectory(spec.name), taps: tapsOf(spec, 'plugged') },
    },
    plugged,
  );
}

/** Makes the VM and its devices this host's while it is written down; on failure they are nobody's again. */
async function own(registry: VmRegistry, spec: VmSpec, write: () => void): Promise<void> {
  const { ownership, host } = registry;
  const inTime = () => deadline('the ownership store', STORE_MS);
  const before = await ownership.read(spec.name, inTime());
  await ownership.register(spec.name, host.name, inTime());
  try {
    for (const { direct } of directNics(spec))
      await ownership.claimDevice({ host: host.name, device: direct.device, vm: spec.name }, inTime());
    write();
  } catch (error) {
    await releaseDevices(ownership, host.name, spec, STORE_MS).catch(() => {});
    if (before === undefined) await ownership.forget(spec.name, inTime()).catch(() => {});
    throw error;
  }
}
