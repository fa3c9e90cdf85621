/** The destination's half of migrations, done by this process. */
import { deadline } from '../../base/deadline.ts';
import { type Host, tapName } from '../../host/host.ts';
import { tapProps } from '../../hypervisor/qemu/argv.ts';
import { probeQemu } from '../../hypervisor/qemu/capabilities.ts';
import { endQemusOf } from '../../hypervisor/qemu/of-directory.ts';
import { modelIdentity } from '../../hypervisor/qemu/pci.ts';
import { nicIds } from '../../hypervisor/qemu/spec.ts';
import { migrateIncoming, migrateSetCapabilities, netdevAdd } from '../../hypervisor/qmp/commands.ts';
import type { OwnershipStore } from '../../ownership/store.ts';
import type { AbilityStore } from '../../shadow/net/abilities.ts';
import type { ShadowStore } from '../../shadow/store/store.ts';
import { openExports } from '../../storage/exports.ts';
import type { DiskTarget } from '../../storage/model.ts';
import { dropTarget, makeTarget } from '../../storage/target.ts';
import { targetFacts } from '../../storage/target-facts.ts';
import { nicStep, type RunLog, step } from '../run.ts';
import type { DestinationUndo } from '../undo.ts';
import { allTaps, endVm, launchVm, type RunningVm } from '../vm.ts';
import type { DestinationHost, Incoming, Order } from './destination.ts';
import { listeningAt } from './listening.ts';
import { LocalIncoming } from './local-incoming.ts';

/** Where the destination keeps what it knows. */
export interface DestinationStores {
  ownership: OwnershipStore;
  abilities: AbilityStore;
  /** Where the shadows that are captured on the way are kept; they are not when it is left out. */
  shadows?: ShadowStore | undefined;
}

/** What `reserve` works with: the log, and the NICs that it names. */
export type OrderLog = RunLog & Pick<Order, 'nics'>;

const START_MS = 30_000;
const DISK_MS = 60_000;

async function listen(host: Host, vm: RunningVm, signal: AbortSignal): Promise<string> {
  // the port is QEMU's choice, so that two migrations never want the same
  await migrateIncoming(vm.qemu.monitor, `tcp:${host.migrationAddress}:0`, { signal });
  return listeningAt(vm, signal);
}

export class LocalDestination implements DestinationHost {
  readonly host: Host;
  readonly #stores: DestinationStores;
  /** VMs that wait here, with the connections by which they are ended. */
  readonly #waiting = new Map<string, RunningVm>();

  constructor(host: Host, stores: DestinationStores) {
    this.host = host;
    this.#stores = stores;
  }

  get name(): string {
    return this.host.name;
  }

  async devices() {
    return this.host.devices();
  }

  model(asked: Parameters<DestinationHost['model']>[0]) {
    return modelIdentity({ ...asked, binary: this.host.qemu.binary });
  }

  async receiving(signal: AbortSignal) {
    const { postcopy, migrationCapabilities } = await probeQemu(this.host.qemu.binary, { signal });
    return { postcopy, capabilities: migrationCapabilities };
  }

  places(paths: readonly string[], signal: AbortSignal) {
    return Promise.all(paths.map((path) => targetFacts(path, this.host.diskDirectories, signal)));
  }

  async answerUnreachable(...about: Parameters<DestinationHost['answerUnreachable']>) {
    await this.host.answerUnreachable?.(...about);
  }

  async reserve(order: Order, runLog: RunLog, cancel: AbortSignal): Promise<Incoming> {
    const { host } = this;
    const { spec } = order;
    const log: OrderLog = { ...runLog, nics: order.nics };
    for (const move of order.nics) {
      const device = move.target.id;
      const undo = [{ kind: 'release-device', host: host.name, device } as const];
      await nicStep(log, move, 'reserve', 'claim the device', { undo }, () =>
        this.#stores.ownership.claimDevice({
          host: host.name,
          device,
          vm: spec.name,
          migration: log.id,
        }),
      );
    }
    for (const disk of order.disks) await this.#makeDisk(disk, order, log, cancel);
    const taps = allTaps(spec);
    const undo = taps.map(({ tap }) => ({ kind: 'remove-tap', host: host.name, tap }) as const);
    await step(log, 'reserve', 'make the taps', { undo }, async () => {
      for (const { tap, network, queues } of taps) await host.createTap(tap, network, queues);
    });
    const end = [{ kind: 'end-destination', host: host.name } as const];
    return step(log, 'reserve', 'start QEMU on the destination', { undo: end }, () =>
      this.#start(order, log, cancel),
    );
  }

  async #makeDisk(disk: DiskTarget, { spec }: Order, log: OrderLog, cancel: AbortSignal): Promise<void> {
    const { name: host } = this.host;
    const undo = [{ kind: 'remove-disk', host, path: disk.path } as const];
    await step(log, 'reserve', `make an image for disk ${disk.id}`, { undo }, () => {
      const signal = deadline(`an image on ${host}`, DISK_MS, cancel);
      return makeTarget(disk, { host, vm: spec.name, migration: log.id }, signal);
    });
  }

  async #start(order: Order, log: OrderLog, cancel: AbortSignal): Promise<Incoming> {
    const { host } = this;
    const { spec } = order;
    const signal = deadline(`starting QEMU on ${host.name}`, START_MS, cancel);
    const vm = await launchVm(host, spec, { incoming: true, direct: 'none', signal });
    this.#waiting.set(spec.name, vm);
    try {
      // the backends are made now, so that the attach is one command
      for (const { nic, target } of order.nics) {
        const tap = tapName(spec.name, nic.id, 'direct');
        await netdevAdd(vm.qemu.monitor, tapProps(nicIds(nic).directNetdev, tap, target.model), { signal });
      }
      await migrateSetCapabilities(vm.qemu.monitor, order.capabilities, { signal });
      const { source } = order.handOver;
      const options = { address: host.migrationAddress, migration: log.id, source, tls: host.diskTls };
      const exports = await openExports(vm.qemu.monitor, order.disks, options, signal);
      const uri = await listen(host, vm, signal);
      return new LocalIncoming({ vm, uri, exports, order, log, stores: this.#stores });
    } catch (error) {
      await endVm(vm);
      this.#waiting.delete(spec.name);
      throw error;
    }
  }

  async undo({ vm, migration }: { vm: string; migration: string }, undo: DestinationUndo): Promise<void> {
    switch (undo.kind) {
      case 'end-destination':
        return this.#end(vm);
      case 'remove-disk':
        return dropTarget(undo.path, migration);
      case 'remove-tap':
        return this.host.removeTap(undo.tap);
      case 'release-device':
        return this.#stores.ownership.releaseDevice({
          host: undo.host,
          device: undo.device,
          vm,
          migration,
        });
      default:
        return undo satisfies never;
    }
  }

  async #end(name: string): Promise<void> {
    const live = this.#waiting.get(name);
    this.#waiting.delete(name);
    if (live !== undefined) return endVm(live);
    await endQemusOf(this.host.vmDirectory(name));
  }
}
