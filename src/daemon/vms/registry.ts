/**
 * The VMs of this host: which there are, which run, and who works with which. One connection to each QEMU is kept here
 * (a monitor serves one client at a time), so whoever works with a VM gets it from here.
 */
import { deadline } from '../../base/deadline.ts';
import { untilEnded } from '../../base/process.ts';
import { reasonOf, ShadowferryError, toShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { queryStatus } from '../../hypervisor/qmp/commands.ts';
import type { RunningVm } from '../../migration/vm.ts';
import type { Ownership, OwnershipStore } from '../../ownership/store.ts';
import { type Connection, letGo, listen, openConnection, qemuOf, stateOf } from './connection.ts';
import type { Definition, Definitions } from './definitions.ts';
import { RecordKeeper } from './records.ts';
import { type Slot, Slots, type VmDetails, type VmEntry } from './slots.ts';
import { releaseDevices, removeTaps } from './tidy.ts';

export type { VmState } from './connection.ts';
export type { VmDetails, VmEntry } from './slots.ts';

export interface RegistryOptions {
  host: Host;
  ownership: OwnershipStore;
  definitions: Definitions;
  publish: (type: string, data: Record<string, unknown>) => void;
  /** Whether a migration of the VM is under way by the journals: what it made is not cleaned away. */
  migrating?: (vm: string) => boolean;
  /** Between two questions to a store that does not answer, ms. */
  againMs?: number;
  /** Longest wait for the monitor of a VM that is looked for, ms. */
  connectMs?: number;
}

const CONNECT_MS = 10_000;
const LOOK_MS = 5_000;
/** From the end of the monitor's connection to that of the process; QEMU frees the guest's memory meanwhile. */
const END_MS = 10_000;

export class VmRegistry {
  readonly host: Host;
  readonly ownership: OwnershipStore;
  readonly definitions: Definitions;
  readonly #options: RegistryOptions;
  readonly #slots: Slots;
  readonly #records: RecordKeeper;
  #closed = false;

  constructor(options: RegistryOptions) {
    const { host, ownership, definitions, publish } = options;
    this.#options = options;
    this.host = host;
    this.ownership = ownership;
    this.definitions = definitions;
    this.#slots = new Slots(publish);
    const unreadable = (name: string, error: unknown) =>
      publish('vm.unreadable', { vm: name, why: reasonOf(error) });
    for (const definition of definitions.all(unreadable)) this.#slots.add(definition.spec, definition);
    this.#records = new RecordKeeper({ registry: this, slots: this.#slots, ...options });
  }

  /** By name. */
  list(): VmEntry[] {
    return this.#slots.names().map((name) => this.get(name));
  }

  /** @throws UNKNOWN_VM */
  get(name: string): VmEntry {
    return this.#slots.entry(name);
  }

  /** @throws UNKNOWN_VM */
  details(name: string): VmDetails {
    const { definition } = this.#slots.need(name);
    return { ...this.get(name), busy: this.busy(name), definition };
  }

  has(name: string): boolean {
    return this.#slots.find(name) !== undefined;
  }

  /** Whether it has let go of its VMs, as the daemon ends. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Who works with a VM now; null: nobody. */
  busy(name: string): string | null {
    return this.#slots.busy.get(name) ?? null;
  }

  /**
   * Works with a running VM by the connections that are kept here, while nobody else does.
   * @param why what is done, as others are told who want it meanwhile: `migration 7f3a to beta`
   * @throws UNKNOWN_VM, VM_BUSY naming who, VM_STATE when it does not run here, VM_LIMITED for an adopted one that is
   *   not built as ours, and what connecting and `act` throw
   */
  async hold<T>(
    name: string,
    why: string,
    act: (vm: RunningVm) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    this.#slots.need(name);
    return this.exclusively(name, why, async () => {
      const limit = deadline(`connecting to VM "${name}"`, CONNECT_MS, signal);
      const vm = await this.#whole(name, why, limit);
      try {
        return await act(vm);
      } finally {
        await this.look(name);
      }
    });
  }

  /**
   * Works with a VM, known here or not, by connections of one's own: those that were kept here are closed while `act`
   * runs, and afterwards its QEMU is looked for again. For recovery, which finds out by itself what there is.
   * @throws VM_BUSY, and what `act` throws
   */
  borrow<T>(name: string, why: string, act: () => Promise<T>): Promise<T> {
    return this.exclusively(name, why, async () => {
      await this.#disconnect(name);
      try {
        return await act();
      } finally {
        await this.#records.settle(name);
      }
    });
  }

  /** Keeps others from a VM's name while `act` runs. @throws VM_BUSY, and what `act` throws */
  async exclusively<T>(name: string, why: string, act: () => Promise<T>): Promise<T> {
    const what = this.#slots.busy.get(name);
    if (what !== undefined) throw new ShadowferryError('VM_BUSY', { vm: name, host: this.host.name, what });
    this.#slots.busy.set(name, why);
    try {
      return await act();
    } finally {
      this.#slots.busy.delete(name);
      this.#slots.tell(name);
    }
  }

  /** A VM is on its way here: it is shown, and its name is taken. Safe to repeat. */
  incoming(spec: VmSpec, why = 'its memory is on its way'): void {
    const slot = this.#slots.ensure(spec);
    slot.spec = spec;
    this.#slots.become(spec.name, 'incoming', why);
  }

  /** A VM that was on its way does not come: it is what it was before. */
  notComing(name: string): void {
    const slot = this.#slots.find(name);
    if (slot?.state !== 'incoming') return;
    if (slot.definition === undefined) {
      this.#slots.become(name, 'gone', 'it does not come');
      this.#slots.delete(name);
      return;
    }
    slot.spec = slot.definition.spec;
    const { leftWhy } = slot.definition;
    this.#slots.become(name, leftWhy === null ? 'stopped' : 'gone', leftWhy ?? undefined);
  }

  /**
   * A VM that came by a migration is ours: its definition is written, and its connections are kept here from now on.
   * Called again, it writes what has changed of it since. It waits for the disk: not while traffic waits.
   * @throws when the disk does not take it; it is known here all the same, until this process ends
   */
  arrived(vm: RunningVm, record?: Ownership): void {
    const { spec } = vm.qemu;
    const slot = this.#slots.ensure(spec);
    slot.spec = spec;
    slot.verdict = undefined;
    if (record !== undefined) slot.epoch = record.epoch;
    const known = slot.connection?.kind === 'whole' && slot.connection.vm === vm;
    if (!known) {
      const before = slot.connection;
      this.connected(spec.name, { kind: 'whole', vm });
      if (before !== undefined) void letGo(before).catch(() => {});
    }
    if (slot.state !== 'running') this.#slots.become(spec.name, 'running', undefined);
    void this.look(spec.name);
    slot.definition = this.definitions.save({ spec, origin: 'arrived', adopted: null });
  }

  /** A VM runs on another host from now on; its definition stays as a note of that. */
  left(name: string, why = 'it runs on another host'): void {
    const slot = this.#slots.find(name);
    if (slot === undefined) return;
    this.definitions.left(name, why);
    if (slot.definition !== undefined) slot.definition = { ...slot.definition, leftWhy: why };
    slot.verdict = undefined;
    void this.#disconnect(name).catch(() => {});
    this.#slots.become(name, 'gone', why);
  }

  /** A VM was started here: its definition is as it runs, and its connections are kept. */
  started(vm: RunningVm, epoch: number | undefined): void {
    const { spec } = vm.qemu;
    const slot = this.#slots.ensure(spec);
    const { origin, adopted } = slot.definition ?? { origin: 'defined' as const, adopted: null };
    slot.definition = this.definitions.save({ spec, origin, adopted });
    slot.spec = spec;
    this.permitted(spec.name, epoch);
    this.connected(spec.name, { kind: 'whole', vm });
  }

  /** A VM is known from now on, or known otherwise. Its state stays, or is `stopped`. */
  define(vm: Pick<Definition, 'spec' | 'origin' | 'adopted'>): void {
    const slot = this.#slots.ensure(vm.spec);
    const definition = this.definitions.save(vm);
    if (slot.state === 'gone') {
      slot.state = 'stopped';
      slot.why = undefined;
    }
    slot.definition = definition;
    slot.spec = vm.spec;
  }

  /** A VM is not known here any more. */
  async forget(name: string): Promise<void> {
    await this.#disconnect(name);
    this.definitions.forget(name);
    this.#slots.delete(name);
    this.#options.publish('vm.forgotten', { vm: name });
  }

  /** Keeps a connection that was made for a VM that is known, and listens to it. */
  connected(name: string, connection: Connection): void {
    const slot = this.#slots.need(name);
    for (const stopListening of slot.unlisten.splice(0)) stopListening();
    slot.connection = connection;
    slot.farewell = undefined;
    const mine = () => slot.connection === connection;
    slot.unlisten = listen(connection, {
      state: (state) => mine() && this.#slots.become(name, state, undefined),
      farewell: (text) => {
        if (mine()) slot.farewell = text;
      },
      // whoever works with it finds out by himself
      closed: () => void (mine() && !this.#closed && this.busy(name) === null && this.look(name)),
    });
  }

  /** The connection that is kept here, if any. */
  connection(name: string): Connection | undefined {
    return this.#slots.find(name)?.connection;
  }

  /** The record names this host, and was seen to: nothing stands against the VM here any more. */
  permitted(name: string, epoch: number | undefined): void {
    const slot = this.#slots.find(name);
    if (slot === undefined) return;
    slot.verdict = undefined;
    if (epoch !== undefined) slot.epoch = epoch;
  }

  /** The record of a VM names this host from now on: one that was gone is here, stopped. */
  owned({ vm, epoch }: Ownership): void {
    const slot = this.#slots.find(vm);
    if (slot?.state === 'gone' && slot.definition !== undefined) this.define(slot.definition);
    this.permitted(vm, epoch);
    this.#slots.tell(vm);
  }

  /**
   * Looks for the VMs of this host after a start of the daemon. One that runs though its record names another host is
   * paused at once, and told; where the store cannot be asked, VMs run on, and it is asked again until it answers.
   * @param except VMs that are in other hands: on their way here
   */
  async recover(except: (name: string) => boolean = () => false): Promise<void> {
    const names = this.#slots.names().filter((name) => !except(name) && this.busy(name) === null);
    await Promise.all(names.map((name) => this.exclusively(name, 'it is looked for', () => this.find(name))));
    await this.#records.ask(names);
  }

  /** Looks for the QEMU of a VM that an earlier process started, and connects to it. Never throws. */
  async find(name: string, limitMs = this.#options.connectMs ?? CONNECT_MS): Promise<void> {
    const slot = this.#slots.find(name);
    // where it left, its QEMU may be kept for its pages, and belongs to the migration
    if (slot === undefined || slot.state === 'gone') return;
    const signal = deadline(`connecting to VM "${name}"`, limitMs);
    try {
      const connection = await this.#open(name, signal);
      if (connection === undefined) return await this.#ended(name);
      this.connected(name, connection);
      await this.look(name);
    } catch (error) {
      this.#slots.become(name, 'paused', `its QEMU is there, and cannot be connected to: ${reasonOf(error)}`);
      this.#records.later(name);
    }
  }

  /**
   * Looks at a VM by its connection: how it stands, whether its spec has changed, whether it is still there. What an
   * ended one left on this host is removed. Never throws.
   */
  async look(name: string): Promise<void> {
    const slot = this.#slots.find(name);
    const connection = slot?.connection;
    if (slot === undefined || connection === undefined) return;
    const { spec, monitor, identity } = qemuOf(connection);
    this.#keepSpec(slot, spec);
    try {
      const signal = deadline(`the monitor of VM "${name}"`, LOOK_MS);
      const { status, running } = await queryStatus(monitor, { signal });
      if (slot.connection !== connection || slot.state === 'gone') return;
      const { state, why } = stateOf(status, running);
      this.#slots.become(name, state, why);
    } catch (error) {
      if (slot.connection !== connection || slot.state === 'gone' || this.#closed) return;
      const known = toShadowferryError(error);
      if (known.code === 'DEADLINE')
        return this.#slots.become(name, slot.state, `its monitor is silent: ${known.message}`);
      const ended = await untilEnded(identity, END_MS);
      if (slot.connection !== connection || this.#closed) return;
      await this.#disconnect(name);
      if (ended) await this.#ended(name);
      else await this.find(name);
    }
  }

  /** Lets go of all VMs, which run on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#records.close();
    await Promise.all(this.#slots.names().map((name) => this.#disconnect(name).catch(() => {})));
  }

  async #whole(name: string, what: string, signal: AbortSignal): Promise<RunningVm> {
    const slot = this.#slots.need(name);
    await this.look(name); // a connection that was lost meanwhile is made anew
    if (slot.connection === undefined && slot.state !== 'gone') {
      const connection = await this.#open(name, signal);
      if (connection !== undefined) {
        this.connected(name, connection);
        await this.look(name);
      }
    }
    const { connection, state, why = 'it does not run here' } = slot;
    if (connection === undefined || state === 'gone' || state === 'stopped')
      throw new ShadowferryError('VM_STATE', { vm: name, host: this.host.name, state, why });
    if (connection.kind === 'whole') return connection.vm;
    const missing = slot.definition?.adopted?.abilities.filter(({ can }) => !can) ?? [];
    const reasons = missing.map(({ what: ability, reason }) => `${ability}: ${reason}`).join('; ');
    throw new ShadowferryError('VM_LIMITED', { vm: name, what: `given to "${what}"`, why: reasons });
  }

  #open(name: string, signal: AbortSignal): Promise<Connection | undefined> {
    const adopted = this.#slots.find(name)?.definition?.adopted;
    return openConnection(this.host, name, adopted?.whole ?? true, signal);
  }

  async #disconnect(name: string): Promise<void> {
    const slot = this.#slots.find(name);
    if (slot === undefined) return;
    for (const stopListening of slot.unlisten.splice(0)) stopListening();
    const { connection } = slot;
    slot.connection = undefined;
    if (connection !== undefined) await letGo(connection);
  }

  /** A VM's QEMU is not there any more: what it had of this host is free, unless a migration still sees to that. */
  async #ended(name: string): Promise<void> {
    const slot = this.#slots.find(name);
    if (slot === undefined) return;
    const ran = slot.state === 'running' || slot.state === 'paused';
    const why = slot.farewell ?? (ran ? 'its QEMU ended' : slot.why);
    slot.verdict = undefined;
    this.#slots.become(name, 'stopped', why);
    if (this.#options.migrating?.(name)) return;
    await removeTaps(this.host, slot.spec).catch((error: unknown) =>
      this.#slots.become(
        name,
        'stopped',
        `${why ?? 'it ended'}; its taps are still there: ${reasonOf(error)}`,
      ),
    );
    if (!ran) return;
    await releaseDevices(this.ownership, this.host.name, slot.spec, LOOK_MS).catch(() =>
      this.#records.later(),
    );
  }

  #keepSpec(slot: Slot, spec: VmSpec): void {
    if (spec === slot.spec || slot.definition === undefined || slot.state === 'gone') return;
    slot.spec = spec;
    const { origin, adopted } = slot.definition;
    if (JSON.stringify(spec) !== JSON.stringify(slot.definition.spec))
      slot.definition = this.definitions.save({ spec, origin, adopted });
  }
}
