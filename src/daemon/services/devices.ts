/** Devices of this host: what the configuration says, what the machine has, and who holds them. */
import { ShadowferryError } from '../../errors.ts';
import type { PciNic } from '../../host/pci-nic.ts';
import type { DeviceClaim, OwnershipStore } from '../../ownership/store.ts';
import type { Device, Page } from '../api/model.ts';
import type { DaemonConfig, DeviceConfig } from '../config/model.ts';
import { Pager, pageOfArray, TextKey } from '../http/pagination.ts';
import { sharedRead } from './shared-read.ts';

/** Claims are read from the store so often at most, ms. */
const CLAIMS_MS = 25;

export class DeviceService {
  readonly #config: Pick<DaemonConfig, 'host' | 'devices'>;
  readonly #claims: () => Promise<DeviceClaim[]>;
  readonly #nics: () => readonly PciNic[];

  /** @param nics the PCI network devices of this machine, now */
  constructor(
    config: Pick<DaemonConfig, 'host' | 'devices'>,
    ownership: Pick<OwnershipStore, 'claims'>,
    nics: () => readonly PciNic[],
  ) {
    this.#config = config;
    this.#claims = sharedRead(() => ownership.claims(config.host), CLAIMS_MS);
    this.#nics = nics;
  }

  async list(query: {
    limit: number;
    cursor?: string | undefined;
    network?: string | undefined;
    free?: 'true' | 'false' | undefined;
  }): Promise<Page<Device>> {
    const { network, free } = query;
    const all = (await this.#all()).filter(
      (device) =>
        (network === undefined || device.network === network) &&
        (free === undefined || (device.claimedBy === null) === (free === 'true')),
    );
    return pageOfArray(new Pager('devices', { network, free }, TextKey), all, ({ id }) => id, query);
  }

  /** @throws UNKNOWN_DEVICE */
  async get(id: string): Promise<Device> {
    const all = await this.#all();
    const found = all.find((device) => device.id === id);
    if (found !== undefined) return found;
    const allowed = all.map((device) => device.id).join(', ') || '(there is none)';
    throw new ShadowferryError('UNKNOWN_DEVICE', {
      field: 'device',
      value: id,
      where: this.#config.host,
      allowed,
    });
  }

  async #all(): Promise<Device[]> {
    const { devices } = this.#config;
    const claims = new Map((await this.#claims()).map(({ device, vm }) => [device, vm]));
    const real = devices.some((device) => 'address' in device);
    const nics = new Map((real ? this.#nics() : []).map((nic) => [nic.pciPath, nic]));
    return devices.map((device) => this.#device(device, nics, claims));
  }

  #device(
    device: DeviceConfig,
    nics: ReadonlyMap<string, PciNic>,
    claims: ReadonlyMap<string, string>,
  ): Device {
    const { id, network } = device;
    const common = { id, network, host: this.#config.host, claimedBy: claims.get(id) ?? null };
    if ('model' in device) {
      const { model } = device;
      return { ...common, kind: 'emulated', model, address: null, present: true, pciId: null, driver: null };
    }
    const nic = nics.get(device.address);
    return {
      ...{ ...common, kind: 'pci', model: null, address: device.address, present: nic !== undefined },
      pciId: nic?.pciId ?? null,
      driver: nic?.driver ?? null,
    };
  }
}
