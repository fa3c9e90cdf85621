/**
 * A swap on the machine where we run: one NIC under a running server gives way to another. Where a VM's device is
 * unplugged and plugged, a device here is taken from its driver and given to it. It needs no hypervisor, and the
 * program goes on by itself when whoever started it was connected through this very interface.
 */
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { ShadowferryError } from '../../errors.ts';
import { type FifoPair, makeFifoPair } from '../../guest/fifo-pair.ts';
import { LocalShell } from '../../guest/local.ts';
import { bindDriver, driverOf, findPciNic, type PciNic, pciNics, unbindDriver } from '../../host/pci-nic.ts';
import { GuestChannel } from '../../shadow/channel.ts';
import type { SwapRequest } from './request.ts';
import type { SwapDevice, SwapSite, Which } from './site.ts';

const RUN = '/run/shadowferry';

const nicName = (pciPath: string) => `local-${pciPath.replaceAll(/[:.]/g, '-')}`;

class LocalSite implements SwapSite, AsyncDisposable {
  readonly subject = hostname();
  readonly host = 'this machine';
  readonly nic: string;
  readonly devices: SwapSite['devices'];
  readonly shell = new LocalShell();
  readonly channel: GuestChannel;
  readonly ports: SwapSite['ports'];
  readonly standby = undefined;
  readonly farewell: string;
  readonly #fifos: FifoPair;
  /** The drivers that the devices had. */
  readonly #drivers: Readonly<Record<Which, string | undefined>>;
  readonly #spare: PciNic;

  constructor(options: {
    devices: SwapSite['devices'];
    drivers: Readonly<Record<Which, string | undefined>>;
    spare: PciNic;
    fifos: FifoPair;
  }) {
    const { devices, fifos } = options;
    this.devices = devices;
    this.farewell = `${devices.old.id} has no driver now and can be pulled; to use it again: echo ${devices.old.id} > /sys/bus/pci/drivers_probe`;
    this.nic = nicName(devices.old.identity.pciPath);
    this.channel = new GuestChannel(fifos.stream);
    this.ports = { port: fifos.toProgram, reply: fifos.fromProgram };
    this.#fifos = fifos;
    this.#drivers = options.drivers;
    this.#spare = options.spare;
  }

  async check(): Promise<void> {
    if (process.getuid?.() !== 0) {
      throw new ShadowferryError('RIGHTS_MISSING', {
        what: 'to replace a network device of this machine',
        command: 'Run the command as root.',
      });
    }
    const its = this.#spare.interface;
    if (its === undefined) return;
    const { name, above } = its;
    const inUse = above.length > 0 ? `it is part of ${above.join(', ')}` : await this.#addressesOf(name);
    if (inUse === undefined) return;
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'with',
      problem: `${name} (${this.#spare.pciPath}) is in use: ${inUse}`,
    });
  }

  /** Addresses that somebody gave an interface, as a reason not to take it. */
  async #addressesOf(name: string): Promise<string | undefined> {
    const { stdout } = await this.shell.exec(
      ['ip', '-o', 'address', 'show', 'dev', name, 'scope', 'global'],
      {
        check: true,
      },
    );
    const addresses = [...stdout.matchAll(/ inet6? (\S+)/g)].map((match) => match[1]);
    return addresses.length === 0 ? undefined : `it has ${addresses.join(', ')}`;
  }

  // on one machine the journal says who works on it
  async claim(): Promise<void> {}
  async release(): Promise<void> {}

  async prepare(): Promise<void> {
    await unbindDriver(this.devices.new.identity.pciPath);
  }

  async unprepare(): Promise<void> {
    const driver = this.#drivers.new;
    if (driver !== undefined) await bindDriver(this.devices.new.identity.pciPath, driver);
  }

  async standbyLink(): Promise<void> {}

  #bound(which: Which): boolean {
    return driverOf(this.devices[which].identity.pciPath) !== undefined;
  }

  async isPlugged(): Promise<boolean> {
    return this.#bound('old') || this.#bound('new');
  }

  async unplug(which: Which): Promise<void> {
    await unbindDriver(this.devices[which].identity.pciPath);
  }

  async lateUnplug(): Promise<boolean> {
    return !this.#bound('old');
  }

  async vanished(signal: AbortSignal): Promise<string> {
    // nobody but the kernel sees it, and the program hears of it from there
    const { promise, reject } = Promise.withResolvers<string>();
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    return promise;
  }

  async plug(which: Which): Promise<void> {
    await bindDriver(this.devices[which].identity.pciPath, this.#drivers[which]);
  }

  // the program has announced it, or the bond
  async announce(): Promise<void> {}
  async answer(): Promise<void> {}
  async record(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.channel.close();
    await this.#fifos[Symbol.asyncDispose]();
  }
}

function permanentMac(text: string): string | undefined {
  return /^Permanent address: ([0-9a-f:]{17})$/m.exec(text)?.[1];
}

async function deviceOf(shell: LocalShell, nic: PciNic, mac: string): Promise<SwapDevice> {
  const name = nic.interface?.name;
  const asked = name === undefined ? undefined : await shell.exec(['ethtool', '-P', name]);
  const permanent = asked?.code === 0 ? permanentMac(asked.stdout) : undefined;
  return {
    id: nic.pciPath,
    model: nic.pciId,
    identity: { mac, pciPath: nic.pciPath },
    ...(permanent === undefined || /^[0:]+$/.test(permanent) ? {} : { permanentMac: permanent }),
    pciId: nic.pciId,
    module: nic.modalias,
  };
}

/** As it comes anew, it comes with its own MAC, whatever it was given since. */
function ownMacFirst(device: SwapDevice): SwapDevice {
  const { identity, permanentMac } = device;
  if (permanentMac === undefined) return device;
  return { ...device, identity: { ...identity, mac: permanentMac }, permanentMac: identity.mac };
}

/** The direct device behind a name: the device itself, or the only PCI device below a bond of that name. */
function leaving(nics: readonly PciNic[], value: string): PciNic {
  const below = nics.filter((nic) => nic.interface?.above.includes(value));
  const [only, ...others] = below;
  if (only === undefined) return findPciNic(nics, value, 'device');
  if (others.length === 0) return only;
  const names = below.map((nic) => nic.interface?.name).join(', ');
  throw new ShadowferryError('INPUT_FIELD', {
    field: 'device',
    problem: `${value} has several devices: say which of ${names}`,
  });
}

/**
 * Finds both devices of a swap on this machine, by interface name or PCI address. Dispose of it afterwards.
 * @param lastMac the MAC that a device had when it was last seen, for one that is dead
 * @throws UNKNOWN_DEVICE, INPUT_FIELD when the request does not fit
 */
export async function localSite(
  request: Pick<SwapRequest, 'device' | 'with'>,
  lastMac: (nic: string) => string | undefined = () => undefined,
): Promise<SwapSite & AsyncDisposable> {
  const nics = pciNics();
  if (request.device === undefined)
    throw new ShadowferryError('INPUT_FIELD', { field: 'device', problem: 'is missing' });
  const old = leaving(nics, request.device);
  const spare = findPciNic(nics, request.with, 'with');
  if (old.pciPath === spare.pciPath)
    throw new ShadowferryError('INPUT_FIELD', { field: 'with', problem: 'is the device that leaves' });
  const mac = old.interface?.mac ?? lastMac(nicName(old.pciPath));
  if (mac === undefined) {
    const why = `${old.pciPath} has no interface`;
    throw new ShadowferryError('DEVICE_ABSENT', { vm: 'this machine', nic: request.device, why });
  }
  const shell = new LocalShell();
  // the new device is known by its own MAC until it is given that of the interface
  const devices = {
    old: await deviceOf(shell, old, mac),
    new: ownMacFirst(await deviceOf(shell, spare, spare.interface?.mac ?? mac)),
  };
  mkdirSync(RUN, { recursive: true, mode: 0o700 });
  const fifos = await makeFifoPair(RUN);
  return new LocalSite({ devices, drivers: { old: old.driver, new: spare.driver }, spare, fifos });
}
