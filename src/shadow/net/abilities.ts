/** What kinds of devices can do: learned from every device that is seen, so that a plan knows its losses beforehand. */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { defaultsOf } from './baseline.ts';
import { isObject } from './capture-text.ts';
import { DeviceAbilities, type Hardware, type NetShadow } from './model.ts';

/** What tells one driver from the next: its own version, where it has one, and the kernel that it is a part of. */
export function versionOf({ driverVersion, kernel }: Pick<Hardware, 'driverVersion' | 'kernel'>): string {
  return [driverVersion, kernel].filter((part) => part !== undefined).join(' ');
}

/**
 * What the direct device of this shadow can do; nothing when it was away.
 * @param fresh nobody has touched the device yet: what it shows is also what its driver begins with.
 */
export function abilitiesOf(shadow: NetShadow, fresh = false): DeviceAbilities | undefined {
  const { hardware, driver } = shadow;
  if (!hardware || !driver) return undefined;
  return {
    pciId: hardware.pciId,
    driver: hardware.driver,
    version: versionOf(hardware),
    features: driver.features,
    rings: driver.rings,
    channels: driver.channels,
    coalesce: driver.coalesce,
    pause: driver.pause,
    ...(driver.tuning === undefined ? {} : { tuning: driver.tuning }),
    ...(driver.layout === undefined ? {} : { layout: driver.layout }),
    ...(fresh ? { defaults: defaultsOf(shadow) } : {}),
    ...(driver.maxMtu === undefined ? {} : { maxMtu: driver.maxMtu }),
  };
}

/** What is known of a device, and how well. */
export interface KnownDevice {
  abilities: DeviceAbilities;
  /** It was seen under the same version of the driver and of the kernel. */
  exact: boolean;
}

/**
 * What is known of a device that a guest with this kernel will drive.
 * @param version as `versionOf` says it, where the driver is known already; else the release of the guest's kernel.
 */
export function knownDevice(
  all: readonly DeviceAbilities[],
  pciId: string,
  version: { exactly: string } | { kernel: string },
): KnownDevice | undefined {
  const alike = all.filter((known) => known.pciId === pciId);
  const fits = (known: DeviceAbilities) =>
    'exactly' in version
      ? known.version === version.exactly
      : known.version === version.kernel || known.version?.endsWith(` ${version.kernel}`) === true;
  const same = alike.find(fits);
  const abilities = same ?? alike.at(-1);
  return abilities === undefined ? undefined : { abilities, exact: same !== undefined };
}

const Stored = z.object({ schema: z.literal(1), devices: z.record(z.string(), z.unknown()) });

/**
 * Abilities in a JSON file, by PCI id, driver and version. They are knowledge that comes back by itself: an entry or a file
 * that cannot be read counts as nothing known, and of two writers at once the later wins.
 */
export class AbilityStore {
  private readonly path: string;
  private pending: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.path = path;
  }

  /** Everything known. @throws only what the file system says other than that there is no file. */
  async all(): Promise<DeviceAbilities[]> {
    const known: DeviceAbilities[] = [];
    for (const entry of Object.values(await this.read())) {
      const parsed = DeviceAbilities.safeParse(entry);
      if (parsed.success) known.push(parsed.data);
    }
    return known;
  }

  /** What a device of this PCI id (`vvvv:dddd`) under this driver can do, if one was seen. */
  async get(pciId: string, driver: string, version?: string): Promise<DeviceAbilities | undefined> {
    return (await this.all()).find(
      (known) =>
        known.pciId === pciId &&
        known.driver === driver &&
        (version === undefined || known.version === version),
    );
  }

  /**
   * Remembers what a device can do, in place of what was known; what its driver begins with stays known when this device
   * had been touched. Calls are served one after another.
   */
  remember(abilities: DeviceAbilities): Promise<void> {
    const done = this.pending.then(() => this.write(abilities));
    this.pending = done.catch(() => {});
    return done;
  }

  private async read(): Promise<Record<string, unknown>> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      if (isObject(error) && error.code === 'ENOENT') return {};
      throw error;
    }
    try {
      return Stored.parse(JSON.parse(text)).devices;
    } catch {
      return {};
    }
  }

  private async write(abilities: DeviceAbilities): Promise<void> {
    const { pciId, driver, version } = abilities;
    const before = await this.read();
    const key = [pciId, driver, version].filter((part) => part !== undefined).join(' ');
    const known = DeviceAbilities.safeParse(before[key]).data;
    const defaults = abilities.defaults ?? known?.defaults;
    const devices = { ...before, [key]: { ...abilities, ...(defaults === undefined ? {} : { defaults }) } };
    await mkdir(dirname(this.path), { recursive: true });
    const temporary = `${this.path}.${process.pid}.${Date.now().toString(36)}`;
    try {
      const file = await open(temporary, 'wx', 0o644);
      try {
        await file.writeFile(`${JSON.stringify({ schema: 1, devices }, undefined, 1)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}
