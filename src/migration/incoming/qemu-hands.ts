/** The destination's half on a host that this process drives: `LocalDestination`, as a later process can go on with it. */
import { existsSync } from 'node:fs';
import { deadline } from '../../base/deadline.ts';
import { isAlive, untilEnded } from '../../base/process.ts';
import { together } from '../../base/together.ts';
import { ShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { endQemusOf, qemuOfDirectory } from '../../hypervisor/qemu/of-directory.ts';
import { recordSpec } from '../../hypervisor/qemu/process.ts';
import { nicIds } from '../../hypervisor/qemu/spec.ts';
import { cont, queryMigrate, queryStatus, stop } from '../../hypervisor/qmp/commands.ts';
import { unplugDevice } from '../../hypervisor/qmp/unplug.ts';
import { takeDisks } from '../../storage/exports.ts';
import { dropTarget, keepTarget } from '../../storage/target.ts';
import { attachAll } from '../destination/attach.ts';
import { type DestinationStores, LocalDestination } from '../destination/local-host.ts';
import type { IncomingRun } from '../destination/local-incoming.ts';
import { recoverCopy } from '../destination/recover-copy.ts';
import { settleAll } from '../destination/settle.ts';
import type { JournalStep } from '../journal.ts';
import { findProgram } from '../reattach.ts';
import { type RunLog, waitAfter } from '../run.ts';
import { disconnectVm, findVm, isPlugged, type RunningVm } from '../vm.ts';
import { unfitPlace } from './disk-places.ts';
import { errorText } from './error-text.ts';
import type { HandsEvents, IncomingHands, Listening, OrderedEntry, QemuLook } from './hands.ts';
import type { IncomingJournal } from './journal.ts';
import type { AttachedText, OrderText, SettledText } from './wire-model.ts';

/** For QEMU's monitor, ms. */
const MONITOR_MS = 5_000;
const CONNECT_MS = 10_000;
/** From `SIGKILL` to the end of a process: QEMU frees the guest's memory meanwhile. */
const END_MS = 10_000;

/** A VM that is on its way, or has come, by the migration that brings it. */
interface Held {
  vm: RunningVm;
  /** An earlier process began with it. */
  found: boolean;
  /** Its connections belong to others. */
  taken: boolean;
  unlisten: (() => void)[];
}

export class QemuHands implements IncomingHands {
  readonly #host: Host;
  readonly #stores: DestinationStores;
  readonly #journal: IncomingJournal;
  readonly #held = new Map<string, Held>();
  /** Steps that were taken back, though that could not be written: `ID/SEQ`. */
  readonly #undone = new Set<string>();
  #events: HandsEvents = { onChange: () => {}, onRunning: () => {} };

  constructor(host: Host, stores: DestinationStores, journal: IncomingJournal) {
    this.#host = host;
    this.#stores = stores;
    this.#journal = journal;
  }

  listen(events: HandsEvents): void {
    this.#events = events;
  }

  async refusal({ spec, nics, disks }: OrderText): Promise<ShadowferryError | undefined> {
    const devices = this.#host.devices();
    for (const { nic, target } of nics) {
      const { id: value, model, network } = target;
      if (devices.some((own) => own.id === value && own.model === model && own.network === network)) continue;
      const allowed = devices.map(({ id }) => id).join(', ') || '(there is none)';
      return new ShadowferryError('UNKNOWN_DEVICE', {
        ...{ field: `devices.${nic.id}`, value, where: this.#host.name, allowed },
      });
    }
    if (qemuOfDirectory(this.#host.vmDirectory(spec.name)).length === 0)
      return unfitPlace(this.#host, { spec, disks });
    const why = `a QEMU of VM "${spec.name}" is still there`;
    return new ShadowferryError('DESTINATION_BUSY', { host: this.#host.name, why });
  }

  async reserve(entry: OrderedEntry, log: RunLog, cancel: AbortSignal): Promise<Listening> {
    await this.#end(entry);
    const destination = new LocalDestination(this.#host, this.#stores);
    const incoming = await destination.reserve(entry.order, log, cancel);
    incoming.close(); // we listen ourselves
    const { vm, uri, exports } = incoming;
    if (vm === undefined) throw new ShadowferryError('INTERNAL', { why: 'the VM is in no hands' });
    this.#hold(entry.id, vm, false);
    return { uri, exports };
  }

  async look(entry: OrderedEntry): Promise<QemuLook | undefined> {
    const held = await this.#find(entry);
    if (held === undefined) return undefined;
    const { monitor, identity } = held.vm.qemu;
    try {
      const signal = deadline(`the monitor of VM "${entry.order.spec.name}"`, MONITOR_MS);
      const [{ status, running }, { status: migration }] = await Promise.all([
        queryStatus(monitor, { signal }),
        queryMigrate(monitor, { signal }),
      ]);
      return { status, running, migration };
    } catch (error) {
      const closed = error instanceof ShadowferryError && error.code === 'QMP_CLOSED';
      const ended = closed ? await untilEnded(identity, END_MS) : !isAlive(identity);
      if (!ended && !closed) throw error;
      await this.#drop(entry.id);
      if (ended) return undefined;
      throw error;
    }
  }

  async continueVm(entry: OrderedEntry): Promise<void> {
    const { monitor } = (await this.#need(entry)).vm.qemu;
    const signal = deadline('the start of the VM', MONITOR_MS);
    await takeDisks(monitor, entry.order.disks, entry.id, signal);
    await cont(monitor, { signal });
  }

  async pauseVm(entry: OrderedEntry): Promise<void> {
    const { monitor } = (await this.#need(entry)).vm.qemu;
    await stop(monitor, { signal: deadline('pausing the VM', MONITOR_MS) });
  }

  async attach(entry: OrderedEntry, log: RunLog, onCarrier: (nic: string) => void): Promise<AttachedText> {
    const held = await this.#need(entry);
    if (held.found) await this.#startAnew(entry, held.vm);
    const { replayed, failed } = await attachAll(this.#run(entry, held.vm, log), (nic) => {
      onCarrier(nic);
      void this.#stopAnswering(entry, nic).catch(() => {});
    });
    return {
      replayed: Object.fromEntries(replayed),
      failed: Object.fromEntries([...failed].map(([nic, error]) => [nic, errorText(error)])),
    };
  }

  /** What an earlier process had plugged, the program may have taken or not: it is plugged anew. */
  async #startAnew({ order }: OrderedEntry, vm: RunningVm): Promise<void> {
    const { agentMs, unplugMs } = order.limits;
    await together(order.nics, async ({ nic }) => {
      await findProgram(vm, nic.id, agentMs);
      if (!(await isPlugged(vm, nic))) return;
      const signal = waitAfter('the unplug', unplugMs);
      await unplugDevice(vm.qemu.monitor, { id: nicIds(nic).directDevice, signal });
    });
  }

  async settle(entry: OrderedEntry, log: RunLog, attached: AttachedText): Promise<SettledText> {
    const { vm } = await this.#need(entry);
    vm.qemu = recordSpec(vm.qemu, entry.order.spec);
    const replayed = new Map(
      Object.entries(attached.replayed).map(([nic, { results }]) => [nic, { results: [...results] }]),
    );
    const { settled, spec } = await settleAll(this.#run(entry, vm, log), replayed);
    vm.qemu = recordSpec(vm.qemu, spec);
    const nics = [...settled].map(([nic, { persisted, ...rest }]) => {
      const files = persisted === undefined ? {} : { persisted };
      return [nic, { ...rest, ...files }] as const;
    });
    return { nics: Object.fromEntries(nics) };
  }

  async keepClaims({ id, order }: OrderedEntry): Promise<void> {
    const { ownership } = this.#stores;
    for (const { path } of order.disks) await keepTarget(path, id);
    for (const { target } of order.nics)
      await ownership.claimDevice({ host: this.#host.name, device: target.id, vm: order.spec.name });
  }

  async recoverCopy(entry: OrderedEntry): Promise<string> {
    const { vm } = await this.#need(entry);
    const signal = deadline('listening anew', MONITOR_MS);
    return recoverCopy(vm, signal);
  }

  async remains({ id, order }: OrderedEntry): Promise<boolean> {
    const directory = this.#host.vmDirectory(order.spec.name);
    if (existsSync(directory) || qemuOfDirectory(directory).length > 0) return true;
    return this.#left(id).some(({ undo }) => undo.some(({ kind }) => kind !== 'release-device'));
  }

  async discard(entry: OrderedEntry): Promise<void> {
    await this.#end(entry);
    for (const { seq, undo } of this.#left(entry.id).toReversed()) {
      let whole = true;
      for (const each of undo.toReversed()) {
        if (each.kind === 'release-device')
          whole = false; // done by `release`, once the store answers
        else if (each.kind === 'remove-tap') await this.#host.removeTap(each.tap);
        else if (each.kind === 'remove-disk') await dropTarget(each.path, entry.id);
      }
      if (whole) this.#tookBack(entry.id, seq);
    }
    for (const { nic } of entry.order.nics) await this.#stopAnswering(entry, nic.id);
  }

  async release(entry: OrderedEntry): Promise<void> {
    const vm = entry.order.spec.name;
    for (const { target } of entry.order.nics) {
      const claim = { host: this.#host.name, device: target.id, vm, migration: entry.id };
      await this.#stores.ownership.releaseDevice(claim);
    }
    for (const { seq } of this.#left(entry.id)) this.#tookBack(entry.id, seq);
  }

  /** Steps that were not taken back. */
  #left(id: string): JournalStep[] {
    return this.#journal
      .steps(id)
      .filter(({ seq, status }) => status !== 'undone' && !this.#undone.has(`${id}/${seq}`));
  }

  #tookBack(id: string, seq: number): void {
    try {
      this.#journal.end(id, seq, 'undone');
    } catch {
      // a full disk keeps nobody from cleaning up; done once more by a later process, it does no harm
      this.#undone.add(`${id}/${seq}`);
    }
  }

  async claimed({ id, order, state }: OrderedEntry): Promise<boolean> {
    const claims = await this.#stores.ownership.claims(this.#host.name);
    const held = order.nics.map(({ target }) =>
      claims.some(({ device, vm, migration }) => {
        const ours = vm === order.spec.name && device === target.id;
        return ours && (migration === id || (state.kind === 'reserving' && migration === undefined));
      }),
    );
    return state.kind === 'reserving' ? held.every(Boolean) : held.some(Boolean);
  }

  async take(entry: OrderedEntry): Promise<RunningVm | undefined> {
    const held = await this.#find(entry);
    if (held !== undefined) held.taken = true;
    return held?.vm;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#held.keys()].map((id) => this.#drop(id)));
  }

  #run({ order, staged }: OrderedEntry, vm: RunningVm, log: RunLog): IncomingRun {
    const nics = staged.map(({ standbyPciPath, manager, ...rest }) => ({
      ...rest,
      standbyPciPath,
      manager: { ...manager, client: manager.client },
    }));
    return { vm, order, log: { ...log, nics: order.nics }, stores: this.#stores, staged: nics };
  }

  async #stopAnswering({ order }: OrderedEntry, nic: string): Promise<void> {
    const network = order.nics.find((move) => move.nic.id === nic)?.nic.network;
    if (network === undefined) return;
    await this.#host.answerUnreachable?.({ vm: order.spec.name, nic, network }, []);
  }

  #hold(id: string, vm: RunningVm, found: boolean): Held {
    const { monitor } = vm.qemu;
    const change = () => this.#events.onChange(id);
    const unlisten = [
      monitor.on('MIGRATION', change),
      monitor.on('STOP', change),
      monitor.on('RESUME', (event) => {
        this.#events.onRunning(id, event.arrivedMs);
        change();
      }),
    ];
    void monitor.closed.then(change);
    const held = { vm, found, taken: false, unlisten };
    this.#held.set(id, held);
    return held;
  }

  async #find(entry: OrderedEntry): Promise<Held | undefined> {
    const held = this.#held.get(entry.id);
    if (held !== undefined) return held;
    const { name } = entry.order.spec;
    const directory = this.#host.vmDirectory(name);
    if (!existsSync(directory)) return undefined;
    try {
      const vm = await findVm(this.#host, name, deadline(`connecting to VM "${name}"`, CONNECT_MS));
      return this.#hold(entry.id, vm, true);
    } catch (error) {
      const none = error instanceof ShadowferryError && error.code === 'UNKNOWN_VM';
      // not `none` while a process of it is there
      if (qemuOfDirectory(directory).length === 0) return undefined;
      if (none && entry.state.kind === 'reserving') return undefined; // made anew
      throw error;
    }
  }

  async #need(entry: OrderedEntry): Promise<Held> {
    const held = await this.#find(entry);
    if (held !== undefined) return held;
    const { name: value } = entry.order.spec;
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value, allowed: `VMs on ${this.#host.name}` });
  }

  /** Ends its QEMU, whoever started it and however far that came, and removes its directory. */
  async #end(entry: OrderedEntry): Promise<void> {
    await this.#drop(entry.id);
    await endQemusOf(this.#host.vmDirectory(entry.order.spec.name));
  }

  async #drop(id: string): Promise<void> {
    const held = this.#held.get(id);
    this.#held.delete(id);
    if (held === undefined) return;
    for (const stopListening of held.unlisten) stopListening();
    if (!held.taken) await disconnectVm(held.vm).catch(() => {});
  }
}
