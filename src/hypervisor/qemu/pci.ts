/** PCI as QEMU sees it: where a port leads in the guest, and what a device model calls itself. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { identify, signalProcess, spawnDetached } from '../../base/process.ts';
import { reasonOf, ShadowferryError } from '../../errors.ts';
import { type Qmp, QmpClient } from '../qmp/client.ts';
import { deviceArgument, deviceModel } from './device-model.ts';

interface PciDevice {
  bus: number;
  slot: number;
  function: number;
  qdev_id: string;
  class_info: { class: number };
  id: {
    vendor: number;
    device: number;
    subsystem?: number | undefined;
    'subsystem-vendor'?: number | undefined;
  };
  pci_bridge?: { bus: { secondary: number }; devices?: PciDevice[] | undefined } | undefined;
}

const PciDevice: z.ZodType<PciDevice> = z.lazy(() =>
  z.object({
    bus: z.number(),
    slot: z.number(),
    function: z.number(),
    qdev_id: z.string(),
    class_info: z.object({ class: z.number() }),
    id: z.object({
      vendor: z.number(),
      device: z.number(),
      subsystem: z.number().optional(),
      'subsystem-vendor': z.number().optional(),
    }),
    pci_bridge: z
      .object({ bus: z.object({ secondary: z.number() }), devices: z.array(PciDevice).optional() })
      .optional(),
  }),
);
const PciBuses = z.array(z.object({ bus: z.number(), devices: z.array(PciDevice) }));

async function pciDevices(qmp: Qmp): Promise<PciDevice[]> {
  const buses = await qmp.execute('query-pci', undefined, { schema: PciBuses });
  const flatten = (device: PciDevice): PciDevice[] => [
    device,
    ...(device.pci_bridge?.devices ?? []).flatMap(flatten),
  ];
  return buses.flatMap((bus) => bus.devices.flatMap(flatten));
}

/** A PCI device, with the bridge that it sits in. */
export interface PciNode {
  /** QEMU's id of it; empty where it has none. */
  id: string;
  /** Class and subclass. */
  kind: number;
  slot: number;
  /** Id of its bridge; undefined on the root bus. */
  port: string | undefined;
}

/** All PCI devices of a VM, each with its bridge. */
export async function pciNodes(qmp: Qmp, signal: AbortSignal): Promise<PciNode[]> {
  const buses = await qmp.execute('query-pci', undefined, { schema: PciBuses, signal });
  const walk = (device: PciDevice, port: string | undefined): PciNode[] => [
    { id: device.qdev_id, kind: device.class_info.class, slot: device.slot, port },
    ...(device.pci_bridge?.devices ?? []).flatMap((below) => walk(below, device.qdev_id)),
  ];
  return buses.flatMap((bus) => bus.devices.flatMap((device) => walk(device, undefined)));
}

const hex = (number: number, digits: number) => number.toString(16).padStart(digits, '0');

/**
 * Guest PCI path (`0000:01:00.0`) of whatever sits, or will sit, in a root port.
 * The guest's firmware numbers the buses, so this is known once the guest has booted.
 */
export async function guestPciPath(qmp: Qmp, port: string): Promise<string> {
  const bridge = (await pciDevices(qmp)).find((device) => device.qdev_id === port)?.pci_bridge;
  if (bridge === undefined)
    throw new ShadowferryError('INTERNAL', { why: `the VM has no PCI port "${port}"` });
  return `0000:${hex(bridge.bus.secondary, 2)}:00.0`;
}

/** What a device model is to a guest's kernel. */
export interface ModelIdentity {
  /** `vvvv:dddd`. */
  pciId: string;
  /** The kernel's module alias, by which a guest finds the driver before the device is there. */
  modalias: string;
}

function identityOf({ id, class_info }: PciDevice): ModelIdentity {
  const upper = (number: number, digits: number) => hex(number, digits).toUpperCase();
  const subsystem = `sv${upper(id['subsystem-vendor'] ?? 0, 8)}sd${upper(id.subsystem ?? 0, 8)}`;
  const kind = `bc${upper(class_info.class >> 8, 2)}sc${upper(class_info.class & 0xff, 2)}i00`;
  return {
    pciId: `${hex(id.vendor, 4)}:${hex(id.device, 4)}`,
    modalias: `pci:v${upper(id.vendor, 8)}d${upper(id.device, 8)}${subsystem}${kind}`,
  };
}

const known = new Map<string, Promise<ModelIdentity>>();

/**
 * Asks QEMU what a network device model is, by plugging one into a machine that never runs; remembered per binary.
 * @throws UNKNOWN_MODEL (fields `field`, `value`) when QEMU cannot make such a device.
 */
export function modelIdentity(options: {
  binary: string;
  machine: string;
  model: string;
  field: string;
  signal: AbortSignal;
}): Promise<ModelIdentity> {
  const key = JSON.stringify([options.binary, options.machine, options.model]);
  const asked = known.get(key) ?? askModel(options);
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}

async function askModel(options: Parameters<typeof modelIdentity>[0]): Promise<ModelIdentity> {
  const { binary, machine, model, field, signal } = options;
  const directory = await mkdtemp(join(tmpdir(), 'shadowferry-model-'));
  const path = join(directory, 'qmp.sock');
  const { driver, properties } = deviceModel(model);
  const child = spawnDetached(
    [
      ...([
        binary,
        '-machine',
        machine,
        '-accel',
        'tcg',
        '-nodefaults',
        '-no-user-config',
        '-display',
        'none',
      ] as const),
      ...['-S', '-qmp', `unix:${path},server=on,wait=off`],
      // on the root bus: a bridge's devices are listed only once firmware has numbered its bus
      ...['-device', deviceArgument(driver, { ...properties, id: 'asked', bus: 'pcie.0', romfile: '' })],
    ],
    join(directory, 'log'),
  );
  const identity = identify(child.pid);
  const early = new AbortController();
  void child.exited.then((how) => early.abort(new Error(`QEMU ended: ${how}`)));
  try {
    const monitor = await QmpClient.connect({
      path,
      name: 'model query',
      signal: AbortSignal.any([signal, early.signal]),
    });
    try {
      const device = (await pciDevices(monitor)).find((candidate) => candidate.qdev_id === 'asked');
      if (device === undefined) throw new Error('it is not a PCI device');
      return identityOf(device);
    } finally {
      await monitor.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    const said = readFileSync(join(directory, 'log'), 'utf8').trim() || reasonOf(error);
    const allowed = `the PCI network devices of this QEMU, which "shadowferry doctor" lists (QEMU says: ${said})`;
    throw new ShadowferryError('UNKNOWN_MODEL', { field, value: model, allowed }, { cause: error });
  } finally {
    if (identity) signalProcess(identity, 'SIGKILL');
    await child.exited;
    await rm(directory, { recursive: true, force: true });
  }
}
