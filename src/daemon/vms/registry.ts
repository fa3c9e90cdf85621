/**
 * The VMs of this host: which there are, which run, and who works with which. One connection to each QEMU is kept here
 * (a monitor serves one client at a time), so whoever works with a VM gets it from here.
 */
import { deadline } from '../../base/deadline.ts';
import { isAlive } from '../../base/process.ts';
import { reasonOf, ShadowferryError, toShadowferryError } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { findQemu, type QemuProcess } from '../../hypervisor/qemu/process.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { queryStatus, stop } from '../../hypervisor/qmp/commands.ts';
import { disconnectVm, findVm, type RunningVm } from '../../migration/vm.ts';
import type { Ownership, OwnershipStore } from '../../ownership/store.ts';
import type { Definition, Definitions } from './definitions.ts';
import { releaseDevices, removeTaps } from './tidy.ts';

/**
 * `paused`: there with its memory, vCPUs stopped. `incoming`: on its way here. `stopped`: known here, and not running.
 * `gone`: it runs on another host.
 */
export type VmState = 'running' | 'paused' | 'stopped' | 'incoming' | 'gone';

export interface VmEntry {
  name: string;
  spec: VmSpec;
  state: VmState;
  /** What there is to say of the state. */
  why?: string;
  pid: number | null;
  /** Of the record that was seen last. */
  epoch: number | null;
}

/** What an entry has beside, for the API. */
export interface VmDetails extends VmEntry {
  /** What is being done with it now. */
  busy: string | null;
  /** Undefined for one that is on its way here for the first time. */
  definition: Definition | undefined;
}

export interface RegistryOptions {
  host: Host;
  ownership: OwnershipStore;
  definitions: Definitions;
  publish: (type: string, data: Record<string, unknown>) => void;
  /** Whether a migration of the VM is under way by the journals: what it made is not cleaned away. */
  migrating?: (vm: string) => boolean;
  /** Between two questions to a store that does not answer, ms. */
  againMs?: number;
}

/** A VM that is connected: wholly, or by its monitor alone. */
type Connection = { kind: 'whole'; vm: RunningVm } | { kind: 'monitor'; qemu: QemuProcess };

/** A VM in memory. */
interface Slot {
  spec: VmSpec;
  definition: Definition | undefined;
  state: VmState;
  why: string | undefined;
  /** What the record says against it, as long as it stands. */
  verdict: string | undefined;
  /** What was told last. */
  told: string;
  epoch: number | null;
  connection: Connection | undefined;
  /** Why the guest ended, as QEMU said before it did. */
  farewell: string | undefined;
  unlisten: (() => void)[];
}

const CONNECT_MS = 10_000;
const LOOK_MS = 5_000;
/** From the end of the monitor's connection to that of the process; QEMU frees the guest's memory meanwhile. */
const END_MS = 10_000;
const END_LOOK_MS = 20;
const STORE_AGAIN_MS = 5_000;

const qemuOf = (connection: Connection): QemuProcess =>
  connection.kind === 'whole' ? connection.vm.qemu : connection.qemu;

function letGo(connection: Connection): Promise<void> {
  return connection.kind === 'whole' ? disconnectVm(connection.vm) : connection.qemu.monitor.close();
}

/** What QEMU's run state is to us. */
function stateOf(status: string, running: boolean): { state: VmState; why: string | undefined } {
  if (running) return { state: 'running', why: undefined };
  if (status === 'inmigrate') return { state: 'incoming', why: 'QEMU waits for its memory' };
  return { state: 'paused', why: status === 'paused' ? undefined : `QEMU says "${status}"` };
}

export class VmRegistry {
  readonly host: Host;
  readonly ownership: OwnershipStore;
  readonly definitions: Definitions;
  readonly #options: RegistryOptions;
  readonly #slots = new Map<string, Slot>();
  /** What is done with which VM, by name: also with one that is not known (yet). */
  readonly #busy = new Map<string, string>();
  /** VMs whose records are still to be looked at. */
  readonly #unasked = new Set<string>();
  /** Whether devices may be claimed for VMs that do not run any more. */
  #claimsLeft = false;
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.host = options.host;
    this.ownership = options.ownership;
    this.definitions = options.definitions;
    const unreadable = (name: string, error: unknown) =>
      options.publish('vm.unreadable', { vm: name, why: reasonOf(error) });
    for (const definition of options.definitions.all(unreadable)) this.#add(definition.spec, definition);
  }

  /** By name. */
  list(): VmEntry[] {
    return [...this.#slots.keys()].sort().map((name) => this.get(name));
  }

  /** @throws UNKNOWN_VM */
  get(name: string): VmEntry {
    const { spec, state, epoch, connection, ...slot } = this.#slot(name);
    const pid = connection === undefined ? null : qemuOf(connection).identity.pid;
    const why = [slot.verdict, slot.why].filter(Boolean).join('; ') || undefined;
    return { name, spec, state, ...(why === undefined ? {} : { why }), pid, epoch };
  }

  /** @throws UNKNOWN_VM */
  details(name: string): VmDetails {
    const { definition } = this.#slot(name);
    return { ...this.get(name), busy: this.#busy.get(name) ?? null, definition };
  }

  has(name: string): boolean {
    return this.#slots.has(name);
  }

  /** Who works with a VM now; null: nobody. */
  busy(name: string): string | null {
    return this.#busy.get(name) ?? null;
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
    this.#slot(name);
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
        await this.#settle(name);
      }
    });
  }

  /** Keeps others from a VM's name while `act` runs. @throws VM_BUSY, and what `act` throws */
  async exclusively<T>(name: string, why: string, act: () => Promise<T>): Promise<T> {
    const what = this.#busy.get(name);
    if (what !== undefined) throw new ShadowferryError('VM_BUSY', { vm: name, host: this.host.name, what });
    this.#busy.set(name, why);
    try {
      return await act();
    } finally {
      this.#busy.delete(name);
      this.#tell(name);
    }
  }

  /** A VM is on its way here: it is shown, and its name is taken. Safe to repeat. */
  incoming(spec: VmSpec, why = 'its memory is on its way'): void {
    const slot = this.#slotFor(spec);
    slot.spec = spec;
    this.#become(spec.name, 'incoming', why);
  }

  /** A VM that was on its way does not come: it is what it was before. */
  notComing(name: string): void {
    const slot = this.#slots.get(name);
    if (slot?.state !== 'incoming') return;
    if (slot.definition === undefined) {
      this.#become(name, 'gone', 'it does not come');
      this.#slots.delete(name);
      return;
    }
    slot.spec = slot.definition.spec;
    const { leftWhy } = slot.definition;
    this.#become(name, leftWhy === null ? 'stopped' : 'gone', leftWhy ?? undefined);
  }

  /**
   * A VM that came by a migration is ours: its definition is written, and its connections are kept here from now on.
   * Called again, it writes what has changed of it since. It waits for the disk: not while traffic waits.
   */
  arrived(vm: RunningVm, record?: Ownership): void {
    const { spec } = vm.qemu;
    const slot = this.#slotFor(spec);
    slot.definition = this.definitions.save({ spec, origin: 'arrived', adopted: null });
    slot.spec = spec;
    slot.verdict = undefined;
    if (record !== undefined) slot.epoch = record.epoch;
    const known = slot.connection?.kind === 'whole' && slot.connection.vm === vm;
    if (!known) {
      const before = slot.connection;
      this.connected(spec.name, { kind: 'whole', vm });
      if (before !== undefined) void letGo(before).catch(() => {});
    }
    if (slot.state !== 'running') this.#become(spec.name, 'running', undefined);
    void this.look(spec.name);
  }

  /** A VM runs on another host from now on; its definition stays as a note of that. */
  left(name: string, why = 'it runs on another host'): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    this.definitions.left(name, why);
    if (slot.definition !== undefined) slot.definition = { ...slot.definition, leftWhy: why };
    slot.verdict = undefined;
    void this.#disconnect(name).catch(() => {});
    this.#become(name, 'gone', why);
  }

  /** A VM is known from now on, or known otherwise. Its state stays, or is `stopped`. */
  define(vm: Pick<Definition, 'spec' | 'origin' | 'adopted'>): void {
    const slot = this.#slotFor(vm.spec);
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
    this.#unasked.delete(name);
    this.#options.publish('vm.forgotten', { vm: name });
  }

  /** Keeps a connection that was made for a VM that is known, and listens to it. */
  connected(name: string, connection: Connection): void {
    const slot = this.#slot(name);
    for (const stopListening of slot.unlisten.splice(0)) stopListening();
    slot.connection = connection;
    slot.farewell = undefined;
    const { monitor } = qemuOf(connection);
    const mine = () => slot.connection === connection;
    slot.unlisten.push(
      monitor.on('STOP', () => void (mine() && this.#become(name, 'paused', undefined))),
      monitor.on('RESUME', () => void (mine() && this.#become(name, 'running', undefined))),
      monitor.on('SHUTDOWN', ({ data }) => {
        if (mine()) slot.farewell = data.guest === true ? 'the guest shut down' : 'QEMU was told to end';
      }),
      monitor.on('GUEST_PANICKED', () => {
        if (mine()) slot.farewell = 'the guest panicked';
      }),
    );
    void monitor.closed.then(() => {
      // whoever works with it finds out by himself
      if (mine() && !this.#closed && !this.#busy.has(name)) void this.look(name);
    });
  }

  /** The connection that is kept here, if any. */
  connection(name: string): Connection | undefined {
    return this.#slots.get(name)?.connection;
  }

  /** The record names this host, and was seen to: nothing stands against the VM here any more. */
  permitted(name: string, epoch: number | undefined): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    slot.verdict = undefined;
    if (epoch !== undefined) slot.epoch = epoch;
  }

  /**
   * Looks for the VMs of this host after a start of the daemon. One that runs though its record names another host is
   * paused at once, and told; where the store cannot be asked, VMs run on, and it is asked again until it answers.
   * @param except VMs that are in other hands: on their way here
   */
  async recover(except: (name: string) => boolean = () => false): Promise<void> {
    const names = [...this.#slots.keys()].filter((name) => !except(name));
    await Promise.all(names.map((name) => this.exclusively(name, 'it is looked for', () => this.find(name))));
    for (const name of names) this.#unasked.add(name);
    this.#claimsLeft = true;
    await this.#askStore();
  }

  /** Looks for the QEMU of a VM that an earlier process started, and connects to it. Never throws. */
  async find(name: string): Promise<void> {
    const slot = this.#slots.get(name);
    // where it left, its QEMU may be kept for its pages, and belongs to the migration
    if (slot === undefined || slot.state === 'gone') return;
    const signal = deadline(`connecting to VM "${name}"`, CONNECT_MS);
    try {
      const connection = await this.#open(name, signal);
      if (connection === undefined) return await this.#ended(name);
      this.connected(name, connection);
      await this.look(name);
    } catch (error) {
      this.#become(name, 'paused', `its QEMU is there, and cannot be connected to: ${reasonOf(error)}`);
    }
  }

  /**
   * Looks at a VM by its connection: how it stands, whether its spec has changed, whether it is still there. What an
   * ended one left on this host is removed. Never throws.
   */
  async look(name: string): Promise<void> {
    const slot = this.#slots.get(name);
    const connection = slot?.connection;
    if (slot === undefined || connection === undefined) return;
    const { spec, monitor, identity } = qemuOf(connection);
    this.#keepSpec(slot, spec);
    try {
      const signal = deadline(`the monitor of VM "${name}"`, LOOK_MS);
      const { status, running } = await queryStatus(monitor, { signal });
      if (slot.connection !== connection || slot.state === 'gone') return;
      const { state, why } = stateOf(status, running);
      this.#become(name, state, why);
    } catch (error) {
      if (slot.connection !== connection || slot.state === 'gone' || this.#closed) return;
      const known = toShadowferryError(error);
      if (known.code === 'DEADLINE')
        return this.#become(name, slot.state, `its monitor is silent: ${known.message}`);
      const until = Date.now() + END_MS;
      while (isAlive(identity) && Date.now() < until) await pause(END_LOOK_MS);
      if (slot.connection !== connection || this.#closed) return;
      await this.#disconnect(name);
      if (isAlive(identity)) await this.find(name);
      else await this.#ended(name);
    }
  }

  /** Lets go of all VMs, which run on. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#again);
    await Promise.all([...this.#slots.keys()].map((name) => this.#disconnect(name).catch(() => {})));
  }

  /** @throws UNKNOWN_VM */
  #slot(name: string): Slot {
    const slot = this.#slots.get(name);
    if (slot !== undefined) return slot;
    const allowed = [...this.#slots.keys()].sort().join(', ') || '(there is none)';
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: name, allowed });
  }

  #slotFor(spec: VmSpec): Slot {
    return this.#slots.get(spec.name) ?? this.#add(spec, undefined);
  }

  #add(spec: VmSpec, definition: Definition | undefined): Slot {
    const leftWhy = definition?.leftWhy ?? null;
    const slot: Slot = {
      ...{ spec, definition, verdict: undefined, told: '', epoch: null },
      ...{ connection: undefined, farewell: undefined, unlisten: [] },
      state: leftWhy === null ? 'stopped' : 'gone',
      why: leftWhy ?? undefined,
    };
    this.#slots.set(spec.name, slot);
    return slot;
  }

  async #whole(name: string, what: string, signal: AbortSignal): Promise<RunningVm> {
    const slot = this.#slot(name);
    const lost = slot.connection !== undefined && !isAlive(qemuOf(slot.connection).identity);
    if (lost) await this.look(name);
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

  /** Connects to a VM's QEMU; undefined when none runs here. */
  async #open(name: string, signal: AbortSignal): Promise<Connection | undefined> {
    const adopted = this.#slots.get(name)?.definition?.adopted;
    if (adopted && !adopted.whole) {
      const qemu = await findQemu(this.host.vmDirectory(name), signal);
      return qemu === undefined ? undefined : { kind: 'monitor', qemu };
    }
    try {
      return { kind: 'whole', vm: await findVm(this.host, name, signal) };
    } catch (error) {
      if (error instanceof ShadowferryError && error.code === 'UNKNOWN_VM') return undefined;
      throw error;
    }
  }

  async #disconnect(name: string): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    for (const stopListening of slot.unlisten.splice(0)) stopListening();
    const { connection } = slot;
    slot.connection = undefined;
    if (connection !== undefined) await letGo(connection);
  }

  /** A VM's QEMU is not there any more: what it had of this host is free, unless a migration still sees to that. */
  async #ended(name: string): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    const ran = slot.state === 'running' || slot.state === 'paused';
    const why = slot.farewell ?? (ran ? 'its QEMU ended' : slot.why);
    slot.verdict = undefined;
    this.#become(name, 'stopped', why);
    if (this.#options.migrating?.(name)) return;
    await removeTaps(this.host, slot.spec).catch((error: unknown) =>
      this.#become(name, 'stopped', `${why ?? 'it ended'}; its taps are still there: ${reasonOf(error)}`),
    );
    if (!ran) return;
    this.#claimsLeft = true;
    await releaseDevices(this.ownership, this.host.name, slot.spec, LOOK_MS).catch(() => this.#askAgain());
  }

  #keepSpec(slot: Slot, spec: VmSpec): void {
    if (spec === slot.spec || slot.definition === undefined || slot.state === 'gone') return;
    slot.spec = spec;
    const { origin, adopted } = slot.definition;
    if (JSON.stringify(spec) !== JSON.stringify(slot.definition.spec))
      slot.definition = this.definitions.save({ spec, origin, adopted });
  }

  #become(name: string, state: VmState, why: string | undefined): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    slot.state = state;
    slot.why = why;
    // telling waits for the disk: not while somebody works with it, as traffic may wait then
    if (!this.#busy.has(name)) this.#tell(name);
  }

  #tell(name: string): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    const { state, why = null, epoch } = this.get(name);
    const text = JSON.stringify([state, why]);
    if (text === slot.told) return;
    slot.told = text;
    this.#options.publish('vm.state', { vm: name, state, why, epoch });
  }

  /** Finds out where a VM is after others have worked with it, by the record and by what runs here. */
  async #settle(name: string): Promise<void> {
    if (!this.#slots.has(name)) return;
    const record = await this.ownership
      .read(name, deadline('the ownership store', LOOK_MS))
      .catch(() => 'unknown' as const);
    if (record === 'unknown') {
      await this.find(name);
      this.#unasked.add(name);
      this.#askAgain();
    } else await this.#judge(name, record);
  }

  #askAgain(): void {
    clearTimeout(this.#again);
    if (!this.#closed)
      this.#again = setTimeout(() => void this.#askStore(), this.#options.againMs ?? STORE_AGAIN_MS).unref();
  }

  /** Asks the store about the VMs that were found, and what is claimed for those that are not; again until it answers. */
  async #askStore(): Promise<void> {
    if (this.#closed || (this.#unasked.size === 0 && !this.#claimsLeft)) return;
    try {
      const signal = deadline('the ownership store', LOOK_MS);
      const records = new Map((await this.ownership.list(signal)).map((record) => [record.vm, record]));
      for (const name of [...this.#unasked]) {
        this.#unasked.delete(name);
        // a migration that was taken up meanwhile judges by itself
        if (this.#busy.has(name) || this.#options.migrating?.(name)) continue;
        await this.exclusively(name, 'its record is looked at', () => this.#judge(name, records.get(name)));
      }
      await this.#freeClaims();
      this.#claimsLeft = false;
    } catch (error) {
      for (const name of this.#unasked) {
        const slot = this.#slots.get(name);
        if (slot?.state !== 'running') continue;
        slot.verdict = `whether it may run is not known, as the store cannot be asked: ${reasonOf(error)}`;
        if (!this.#busy.has(name)) this.#tell(name);
      }
      this.#askAgain();
    }
  }

  /** Devices that are claimed for VMs of ours that do not run (any more). */
  async #freeClaims(): Promise<void> {
    for (const claim of await this.ownership.claims(
      this.host.name,
      deadline('the ownership store', LOOK_MS),
    )) {
      const idle = () =>
        this.#slots.get(claim.vm)?.state === 'stopped' && !this.#options.migrating?.(claim.vm);
      if (claim.migration !== undefined || !idle() || this.#busy.has(claim.vm)) continue;
      await this.exclusively(claim.vm, 'its devices are freed', async () => {
        if (idle()) await this.ownership.releaseDevice(claim, deadline('the ownership store', LOOK_MS));
      });
    }
  }

  /** Holds what runs here against the record. Whoever calls it keeps others from the VM. */
  async #judge(name: string, record: Ownership | undefined): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    const { host } = this;
    if (record !== undefined) slot.epoch = record.epoch;
    const ours = record?.owner === host.name;
    if (ours && slot.state === 'gone')
      this.define(slot.definition ?? { spec: slot.spec, origin: 'arrived', adopted: null });
    if (slot.connection === undefined) await this.find(name);
    const { connection } = slot;
    if (record === undefined || ours) {
      slot.verdict = connection === undefined || ours ? undefined : 'no host owns it';
      return this.look(name);
    }
    const who = `host "${record.owner}" owns it (epoch ${record.epoch})`;
    if (connection === undefined) return void (slot.state === 'stopped' && this.left(name, who));
    slot.verdict = who;
    try {
      await stop(qemuOf(connection).monitor, { signal: deadline(`pausing VM "${name}"`, LOOK_MS) });
      slot.verdict = `${who}, so it was paused here`;
      await this.look(name);
    } catch (error) {
      slot.verdict = `${who}, and it could not be paused: ${reasonOf(error)}`;
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
