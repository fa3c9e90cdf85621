/** A VM on its way to a host that this process drives. */
import { setTimeout as delay } from 'node:timers/promises';
import { untilEnded } from '../../base/process.ts';
import { ShadowferryError } from '../../errors.ts';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import { cont, queryMigrate, queryStatus } from '../../hypervisor/qmp/commands.ts';
import type { MigrationStatus } from '../../hypervisor/qmp/migration-info.ts';
import type { Ownership } from '../../ownership/store.ts';
import { takeDisks } from '../../storage/exports.ts';
import type { DiskExport } from '../../storage/model.ts';
import { keepTarget } from '../../storage/target.ts';
import { destinationView } from '../protocol/qemu-view.ts';
import { waitAfter } from '../run.ts';
import type { RunningVm } from '../vm.ts';
import { attachAll } from './attach.ts';
import type { Attached, Incoming, NicSettled, Order, StagedNic } from './destination.ts';
import type { DestinationStores, OrderLog } from './local-host.ts';
import { recoverCopy } from './recover-copy.ts';
import { settleAll } from './settle.ts';

/** Between two looks at what is being loaded, ms: the VM stands still meanwhile. */
const LOOK_MS = 2;
/** Longest wait of a VM that may run for its vCPUs, ms. */
const RUN_MS = 30_000;

/** From the end of a connection to the end of its process, which frees the guest's memory, ms. */
const END_MS = 10_000;

const FAILED: readonly MigrationStatus[] = ['failed', 'cancelled'];

/** What attach and settle work with. */
export interface IncomingRun {
  readonly vm: RunningVm;
  readonly order: Order;
  readonly log: OrderLog;
  readonly stores: DestinationStores;
  readonly staged: readonly StagedNic[];
}

export class LocalIncoming implements Incoming {
  readonly vm: RunningVm;
  readonly uri: string;
  readonly exports: readonly DiskExport[];
  readonly gone: Promise<string>;
  readonly #order: Order;
  readonly #log: OrderLog;
  readonly #stores: DestinationStores;
  readonly #stopListening: () => void;
  #staged: readonly StagedNic[] = [];
  #attached: Attached | undefined;
  #resumed: Promise<number> | undefined;
  /** QEMU was told to run the VM, and did not refuse. */
  #told = false;
  #ran = false;

  constructor(options: {
    vm: RunningVm;
    uri: string;
    exports: readonly DiskExport[];
    order: Order;
    log: OrderLog;
    stores: DestinationStores;
  }) {
    const { vm, uri, exports, order, log, stores } = options;
    this.vm = vm;
    this.uri = uri;
    this.exports = exports;
    this.#order = order;
    this.#log = log;
    this.#stores = stores;
    this.gone = vm.qemu.monitor.closed.then((error) => error?.message ?? 'closed');
    this.#stopListening = vm.qemu.monitor.on('RESUME', (event) => {
      this.#ran = true;
      log.timeline.mark('vCPUs run', event.arrivedMs);
    });
  }

  async stage(nics: readonly StagedNic[]): Promise<void> {
    this.#staged = nics;
  }

  async loaded(signal: AbortSignal): Promise<void> {
    const { monitor } = this.vm.qemu;
    for (;;) {
      // QEMU answers between two parts of its work only, and says by no event that a post-copy has loaded
      const { status, running } = await queryStatus(monitor, { signal });
      const { status: migration, 'error-desc': why } = await queryMigrate(monitor, { signal });
      if (FAILED.includes(migration))
        throw new ShadowferryError('MIGRATION_FAILED', { why: why ?? `the destination says "${migration}"` });
      const view = destinationView({ status, running, migration });
      if (view === 'loaded') return;
      if (view === 'running' || view === 'stopped')
        throw new ShadowferryError('MIGRATION_FAILED', { why: `the destination is "${status}" too early` });
      await delay(LOOK_MS, undefined, { signal });
    }
  }

  async allow(owned: Ownership, signal: AbortSignal): Promise<void> {
    await this.#checkRecord(owned);
    const { monitor } = this.vm.qemu;
    this.#resumed ??= monitor
      .waitFor('RESUME', { signal: waitAfter('the start of the destination', RUN_MS) })
      .promise.then(({ arrivedMs }) => arrivedMs);
    this.#resumed.catch(() => {}); // told by `running`
    await takeDisks(monitor, this.#order.disks, this.#log.id, signal);
    this.#told = true;
    try {
      await cont(monitor, { signal });
    } catch (error) {
      if (error instanceof ShadowferryError && error.code === 'QMP_REFUSED') this.#told = false;
      throw error;
    }
  }

  /** QEMU says `RESUME` before it starts the vCPUs: a connection that ended without it has seen none run. */
  async neverRan(): Promise<boolean> {
    if (this.#told && !(await untilEnded(this.vm.qemu.identity, END_MS))) return false;
    if (this.#told) await this.gone; // all that it said is read
    return !this.#ran;
  }

  /** A host never runs a VM that another one owns, whoever says so. */
  async #checkRecord({ vm, owner, epoch }: Ownership): Promise<void> {
    const now = await this.#stores.ownership.read(vm);
    const host = this.vm.host.name;
    if (now?.owner === host && owner === host && now.epoch === epoch) return;
    const found = { owner: now?.owner ?? 'nobody', epoch: now?.epoch ?? 0 };
    throw new ShadowferryError('NOT_OWNER', { vm, host, ...found });
  }

  async running(): Promise<number> {
    if (this.#resumed === undefined)
      throw new ShadowferryError('INTERNAL', { why: 'nobody has let the destination run' });
    return this.#resumed;
  }

  async attach(onCarrier: (nic: string) => void): Promise<Attached> {
    this.#attached = await attachAll(this.#run(), onCarrier);
    return this.#attached;
  }

  recover(signal: AbortSignal): Promise<string> {
    return recoverCopy(this.vm, signal);
  }

  async settle(): Promise<ReadonlyMap<string, NicSettled>> {
    this.vm.qemu = recordSpec(this.vm.qemu, this.#order.spec);
    for (const { path } of this.#order.disks) await keepTarget(path, this.#log.id);
    const { settled, spec } = await settleAll(this.#run(), this.#attached?.replayed ?? new Map());
    this.vm.qemu = recordSpec(this.vm.qemu, spec);
    return settled;
  }

  close(): void {
    this.#stopListening();
  }

  #run(): IncomingRun {
    return { vm: this.vm, order: this.#order, log: this.#log, stores: this.#stores, staged: this.#staged };
  }
}
