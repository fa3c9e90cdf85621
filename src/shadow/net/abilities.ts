/** What kinds of devices can do: learned from every device that is seen, so that a plan knows its losses beforehand. */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { isObject } from './capture-text.ts';
import { DeviceAbilities, type NetShadow } from './model.ts';

/** What the direct device of this shadow can do; nothing when it was away. */
export function abilitiesOf(shadow: NetShadow): DeviceAbilities | undefined {
  const { hardware, driver } = shadow;
  if (!hardware || !driver) return undefined;
  return {
    pciId: hardware.pciId,
    driver: hardware.driver,
    features: driver.features,
    rings: driver.rings,
    channels: driver.channels,
    coalesce: driver.coalesce,
    ...(driver.maxMtu === undefined ? {} : { maxMtu: driver.maxMtu }),
  };
}

const Stored = z.object({ schema: z.literal(1), devices: z.record(z.string(), z.unknown()) });

/**
 * Abilities in a JSON file, by PCI id and driver. They are knowledge that comes back by itself: an entry or a file
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
  async get(pciId: string, driver: string): Promise<DeviceAbilities | undefined> {
    return (await this.all()).find((known) => known.pciId === pciId && known.driver === driver);
  }

  /** Remembers what a device can do, in place of what was known. Calls are served one after another. */
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
    const devices = { ...(await this.read()), [`${abilities.pciId} ${abilities.driver}`]: abilities };
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
