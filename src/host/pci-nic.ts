/** The PCI network devices of the machine on which we run, from its sysfs; and their drivers. */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ShadowferryError } from '../errors.ts';

export const PCI_ADDRESS = /^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** A PCI function that is a network device. */
export interface PciNic {
  /** `0000:03:00.0`. */
  pciPath: string;
  /** `vvvv:dddd`. */
  pciId: string;
  /** Module alias, by which its driver is found. */
  modalias: string;
  /** The PCI driver that has it now. */
  driver?: string | undefined;
  /** Its interface, where the driver made one; a function with several is not offered. */
  interface?: { name: string; mac: string; up: boolean; above: string[] } | undefined;
}

const NETWORK_CLASS = /^0x02/;

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function linkName(path: string): string | undefined {
  try {
    return basename(realpathSync(path));
  } catch {
    return undefined;
  }
}

function interfaceOf(root: string, device: string): PciNic['interface'] {
  const below = namesIn(device)
    .filter((name) => name.startsWith('virtio'))
    .map((name) => join(device, name, 'net'));
  const found = [join(device, 'net'), ...below].flatMap((path) => namesIn(path).map((name) => name));
  // the shadow interface that a kernel makes of a standby is below the same function
  const [name, ...others] = found.filter((each) => !existsSync(join(root, 'class/net', each, 'bonding')));
  if (name === undefined || others.length > 0) return undefined;
  const dir = join(root, 'class/net', name);
  return {
    name,
    mac: textOf(join(dir, 'address')) ?? '',
    up: (Number(textOf(join(dir, 'flags')) ?? 0) & 1) === 1,
    above: namesIn(dir).flatMap((each) => (each.startsWith('upper_') ? [each.slice('upper_'.length)] : [])),
  };
}

/** All network devices of this machine that are PCI functions, by address. `root` is `/sys`; tests have one of their own. */
export function pciNics(root = '/sys'): PciNic[] {
  const devices = join(root, 'bus/pci/devices');
  return namesIn(devices)
    .filter((name) => PCI_ADDRESS.test(name))
    .filter((name) => NETWORK_CLASS.test(textOf(join(devices, name, 'class')) ?? ''))
    .toSorted()
    .map((pciPath) => {
      const device = join(devices, pciPath);
      const id = (key: string) => (textOf(join(device, key)) ?? '0x0000').slice(2);
      const driver = linkName(join(device, 'driver'));
      const its = interfaceOf(root, device);
      return {
        ...{ pciPath, pciId: `${id('vendor')}:${id('device')}` },
        modalias: textOf(join(device, 'modalias')) ?? '',
        ...(driver === undefined ? {} : { driver }),
        ...(its === undefined ? {} : { interface: its }),
      };
    });
}

/** A device by its PCI address or by its interface's name. @throws UNKNOWN_DEVICE */
export function findPciNic(nics: readonly PciNic[], value: string, field: string): PciNic {
  const found =
    nics.find(({ pciPath }) => pciPath === value) ?? nics.find((nic) => nic.interface?.name === value);
  if (found !== undefined) return found;
  const known = nics.map(({ pciPath, interface: its }) =>
    its === undefined ? pciPath : `${pciPath} (${its.name})`,
  );
  const allowed = known.join(', ') || '(there is none)';
  throw new ShadowferryError('UNKNOWN_DEVICE', { field, value, where: 'this machine', allowed });
}

/** The PCI driver that has a device now; undefined: none. */
export function driverOf(pciPath: string, root = '/sys'): string | undefined {
  return linkName(join(root, 'bus/pci/devices', pciPath, 'driver'));
}

/** Takes a device from its driver; its interface is gone when this resolves. Does nothing when it has none. */
export async function unbindDriver(pciPath: string, root = '/sys'): Promise<void> {
  const driver = driverOf(pciPath, root);
  if (driver === undefined) return;
  await write(join(root, 'bus/pci/drivers', driver, 'unbind'), pciPath);
}

/**
 * Gives a device to a driver, or lets the kernel find one. Does nothing when it has one.
 * @throws DRIVER_REFUSED when it has none afterwards
 */
export async function bindDriver(pciPath: string, driver: string | undefined, root = '/sys'): Promise<void> {
  if (driverOf(pciPath, root) !== undefined) return;
  const file =
    driver === undefined
      ? join(root, 'bus/pci/drivers_probe')
      : join(root, 'bus/pci/drivers', driver, 'bind');
  await write(file, pciPath);
  if (driverOf(pciPath, root) !== undefined) return;
  throw new ShadowferryError('DRIVER_REFUSED', {
    device: pciPath,
    driver: driver ?? 'any driver',
    why: 'it has no driver now',
  });
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ShadowferryError(
      'DRIVER_REFUSED',
      { device: text, driver: basename(join(file, '..')), why },
      { cause: error },
    );
  }
}
