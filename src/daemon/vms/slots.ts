/** The VMs of a host in memory: how each stands, who works with it, and the telling of what changed. */
import { ShadowferryError } from '../../errors.ts';
import type { VmSpec } from '../../hypervisor/qemu/spec.ts';
import { type Connection, qemuOf, type VmState } from './connection.ts';
import type { Definition } from './definitions.ts';

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

export interface Slot {
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

export class Slots {
  /** What is done with which VM, by name: also with one that is not known (yet). */
  readonly busy = new Map<string, string>();
  readonly #slots = new Map<string, Slot>();
  readonly #publish: (type: string, data: Record<string, unknown>) => void;

  constructor(publish: (type: string, data: Record<string, unknown>) => void) {
    this.#publish = publish;
  }

  names(): string[] {
    return [...this.#slots.keys()].sort();
  }

  find(name: string): Slot | undefined {
    return this.#slots.get(name);
  }

  /** @throws UNKNOWN_VM */
  need(name: string): Slot {
    const slot = this.#slots.get(name);
    if (slot !== undefined) return slot;
    const allowed = this.names().join(', ') || '(there is none)';
    throw new ShadowferryError('UNKNOWN_VM', { field: 'vm', value: name, allowed });
  }

  /** That of a VM, made where there is none. */
  ensure(spec: VmSpec): Slot {
    return this.#slots.get(spec.name) ?? this.add(spec, undefined);
  }

  add(spec: VmSpec, definition: Definition | undefined): Slot {
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

  delete(name: string): void {
    this.#slots.delete(name);
  }

  /** @throws UNKNOWN_VM */
  entry(name: string): VmEntry {
    const { spec, state, epoch, connection, ...slot } = this.need(name);
    const pid = connection === undefined ? null : qemuOf(connection).identity.pid;
    const why = [slot.verdict, slot.why].filter(Boolean).join('; ') || undefined;
    return { name, spec, state, ...(why === undefined ? {} : { why }), pid, epoch };
  }

  become(name: string, state: VmState, why: string | undefined): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    slot.state = state;
    slot.why = why;
    // telling waits for the disk: not while somebody works with it, as traffic may wait then
    if (!this.busy.has(name)) this.tell(name);
  }

  /** Tells how a VM stands, where that has changed. */
  tell(name: string): void {
    const slot = this.#slots.get(name);
    if (slot === undefined) return;
    const { state, why = null, epoch } = this.entry(name);
    const text = JSON.stringify([state, why]);
    if (text === slot.told) return;
    slot.told = text;
    this.#publish('vm.state', { vm: name, state, why, epoch });
  }
}
