/** A swap in a VM: the device of one NIC gives way to another of the same host, in the same PCI slot of the guest. */
import { ShadowferryError } from '../../errors.ts';
import { type HostDevice, tapName } from '../../host/host.ts';
import { directDeviceProps, tapProps } from '../../hypervisor/qemu/argv.ts';
import { deviceModel } from '../../hypervisor/qemu/device-model.ts';
import { guestPciPath, type ModelIdentity, modelIdentity } from '../../hypervisor/qemu/pci.ts';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import { channelPorts, type DirectNic, directNics, nicIds } from '../../hypervisor/qemu/spec.ts';
import { announceSelf, deviceAdd, netdevAdd, netdevDel } from '../../hypervisor/qmp/commands.ts';
import { unplugDevice } from '../../hypervisor/qmp/unplug.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import { checkOwner, checkRunning } from '../phases/preflight.ts';
import { waitAfter } from '../run.ts';
import { channelOf, isPlugged, type RunningVm, setStandbyLink } from '../vm.ts';
import type { SwapRequest } from './request.ts';
import type { SwapDevice, SwapSite, Which } from './site.ts';

const list = (words: readonly string[]) => (words.length === 0 ? '(there is none)' : words.join(', '));

/** The NIC that is meant. @throws UNKNOWN_DEVICE, INPUT_FIELD */
export function nicToSwap(vm: RunningVm, device: string | undefined): DirectNic {
  const { name } = vm.qemu.spec;
  const direct = directNics(vm.qemu.spec);
  const known = direct.map((nic) => `${nic.id} (${nic.direct.device})`);
  if (device === undefined) {
    const [only, ...others] = direct;
    if (only !== undefined && others.length === 0) return only;
    const problem =
      only === undefined
        ? `"${name}" has no direct device`
        : `"${name}" has several direct devices: say which of ${list(known)}`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'device', problem });
  }
  // an id comes before a device of the same name
  const nic = direct.find(({ id }) => id === device) ?? direct.find((each) => each.direct.device === device);
  if (nic !== undefined) return nic;
  const where = `VM "${name}"`;
  throw new ShadowferryError('UNKNOWN_DEVICE', {
    field: 'device',
    value: device,
    where,
    allowed: list(known),
  });
}

/**
 * The device that comes. Reads only.
 * @throws UNKNOWN_DEVICE, INPUT_FIELD when it is the present one, on another network or held by another VM
 */
export async function deviceToCome(
  vm: RunningVm,
  nic: DirectNic,
  wanted: string,
  ownership: OwnershipStore,
): Promise<HostDevice> {
  const { host } = vm;
  const field = 'with';
  const devices = host.devices();
  const target = devices.find(({ id }) => id === wanted);
  if (target === undefined) {
    const allowed = list(devices.map(({ id }) => id));
    throw new ShadowferryError('UNKNOWN_DEVICE', {
      field,
      value: wanted,
      where: `host "${host.name}"`,
      allowed,
    });
  }
  const refuse = (problem: string): never => {
    throw new ShadowferryError('INPUT_FIELD', { field, problem });
  };
  if (target.id === nic.direct.device)
    return refuse(`${nic.id} of "${vm.qemu.spec.name}" has ${wanted} already`);
  if (target.network !== nic.network) {
    return refuse(`${wanted} is on network "${target.network}", and ${nic.id} on "${nic.network}"`);
  }
  const { name, nics } = vm.qemu.spec;
  const user = nics.find(({ direct }) => direct?.device === wanted);
  if (user !== undefined) return refuse(`${wanted} is behind ${user.id} of the same VM`);
  const holder = (await ownership.claims(host.name)).find(({ device }) => device === wanted)?.vm;
  // a watch that ended early may have left it claimed for this VM
  if (holder !== undefined && holder !== name) return refuse(`${wanted} is held by VM "${holder}"`);
  return target;
}

class VmSite implements SwapSite {
  readonly nic: string;
  readonly farewell = undefined;
  readonly ports: SwapSite['ports'];
  readonly devices: SwapSite['devices'];
  readonly standby: SwapSite['standby'];
  readonly #vm: RunningVm;
  readonly #spec: DirectNic;
  readonly #ownership: OwnershipStore;

  constructor(options: {
    vm: RunningVm;
    nic: DirectNic;
    devices: SwapSite['devices'];
    standbyPciPath: string | undefined;
    ownership: OwnershipStore;
  }) {
    const { nic, standbyPciPath } = options;
    this.#vm = options.vm;
    this.#spec = nic;
    this.#ownership = options.ownership;
    this.nic = nic.id;
    const { spec, directory } = options.vm.qemu;
    const port = channelPorts(spec, directory).find((each) => each.nic === nic.id)?.guestPath;
    this.ports = port === undefined ? {} : { port };
    this.devices = options.devices;
    this.standby =
      standbyPciPath === undefined
        ? undefined
        : { pciPath: standbyPciPath, manageLink: nic.standby === 'virtio' };
  }

  get subject(): string {
    return this.#vm.qemu.spec.name;
  }

  get host(): string {
    return this.#vm.host.name;
  }

  get shell() {
    return this.#vm.agent;
  }

  get channel() {
    return channelOf(this.#vm, this.nic);
  }

  async check(): Promise<void> {
    await checkOwner({ source: this.#vm, ownership: this.#ownership });
    await checkRunning({ source: this.#vm });
  }

  async claim(which: Which): Promise<void> {
    const { id: device } = this.devices[which];
    await this.#ownership.claimDevice({ host: this.host, device, vm: this.subject });
  }

  async release(which: Which): Promise<void> {
    const { id: device } = this.devices[which];
    await this.#ownership.releaseDevice({ host: this.host, device, vm: this.subject });
  }

  // both devices use the NIC's backend, which is there and stays, or is made anew between them
  async prepare(): Promise<void> {}
  async unprepare(): Promise<void> {}

  async standbyLink(up: boolean): Promise<void> {
    await setStandbyLink(this.#vm, this.nic, up);
  }

  isPlugged(): Promise<boolean> {
    return isPlugged(this.#vm, this.#spec);
  }

  async unplug(_: Which, signal: AbortSignal): Promise<void> {
    await unplugDevice(this.#vm.qemu.monitor, { id: nicIds(this.#spec).directDevice, signal });
  }

  async lateUnplug(waitMs: number): Promise<boolean> {
    const { directDevice } = nicIds(this.#spec);
    const late = this.#vm.qemu.monitor.waitFor(
      (event) => event.name === 'DEVICE_DELETED' && event.data.device === directDevice,
      { signal: waitAfter('a late unplug', waitMs) },
    );
    try {
      if (!(await this.isPlugged())) return true;
      return await late.promise.then(
        () => true,
        () => false,
      );
    } finally {
      late.dispose();
    }
  }

  async vanished(signal: AbortSignal): Promise<string> {
    const { directDevice } = nicIds(this.#spec);
    await this.#vm.qemu.monitor.waitFor(
      (event) => event.name === 'DEVICE_DELETED' && event.data.device === directDevice,
      { signal },
    ).promise;
    return 'QEMU has removed it';
  }

  async plug(which: Which): Promise<void> {
    const { model } = this.devices[which];
    const { monitor } = this.#vm.qemu;
    const id = nicIds(this.#spec).directDevice;
    const queues = Object.values(this.devices).map((device) => deviceModel(device.model).queues);
    if (new Set(queues).size > 1) await this.#renewBackend(model);
    await deviceAdd(monitor, { driver: model, ...directDeviceProps(this.#spec, model), id });
  }

  /** The NIC's backend has as many queues as the device that it was made for; another needs another. */
  async #renewBackend(model: string): Promise<void> {
    const { host, qemu } = this.#vm;
    const { directNetdev } = nicIds(this.#spec);
    const tap = tapName(this.subject, this.nic, 'direct');
    await netdevDel(qemu.monitor, directNetdev).catch((error: unknown) => {
      // an earlier try came as far as that
      if (!(error instanceof ShadowferryError && error.params.class === 'DeviceNotFound')) throw error;
    });
    await host.createTap(tap, this.#spec.network, deviceModel(model).queues);
    await netdevAdd(qemu.monitor, tapProps(directNetdev, tap, model));
  }

  async announce(): Promise<void> {
    await announceSelf(this.#vm.qemu.monitor, { interfaces: [nicIds(this.#spec).directDevice] });
  }

  async answer(addresses: readonly string[]): Promise<void> {
    const absent = { vm: this.subject, nic: this.nic, network: this.#spec.network };
    await this.#vm.host.answerUnreachable?.(absent, addresses);
  }

  async record(): Promise<void> {
    const { id: device, model } = this.devices.new;
    const { spec } = this.#vm.qemu;
    const nics = spec.nics.map((nic) => (nic.id === this.nic ? { ...nic, direct: { device, model } } : nic));
    this.#vm.qemu = recordSpec(this.#vm.qemu, { ...spec, nics });
  }
}

/**
 * Finds both devices of a swap in a VM. Changes nothing.
 * @throws UNKNOWN_DEVICE, INPUT_FIELD, UNKNOWN_MODEL when the request does not fit
 */
export async function vmSite(
  request: Pick<SwapRequest, 'device' | 'with'>,
  options: { vm: RunningVm; ownership: OwnershipStore; signal: AbortSignal },
): Promise<SwapSite> {
  const { vm, ownership, signal } = options;
  const nic = nicToSwap(vm, request.device);
  const target = await deviceToCome(vm, nic, request.with, ownership);
  const { monitor, spec } = vm.qemu;
  const ids = nicIds(nic);
  const { binary } = vm.host.qemu;
  const { machine } = spec;
  const ask = (model: string, field: string): Promise<ModelIdentity> =>
    modelIdentity({ binary, machine, model, field, signal });
  const [now, then] = [await ask(nic.direct.model, 'vm'), await ask(target.model, 'with')];
  // the same slot and the same MAC, whatever is in it
  const identity = { mac: nic.mac, pciPath: await guestPciPath(monitor, ids.directPort) };
  const device = (id: string, model: string, { pciId, modalias }: ModelIdentity): SwapDevice => ({
    ...{ id, model, identity, pciId, module: modalias },
  });
  const standbyPciPath = nic.standby === 'none' ? undefined : await guestPciPath(monitor, ids.standbyPort);
  const devices = {
    old: device(nic.direct.device, nic.direct.model, now),
    new: device(target.id, target.model, then),
  };
  return new VmSite({ vm, nic, devices, standbyPciPath, ownership });
}
