/**
 * What runs on this host, held against the records of the ownership store: after a start of the daemon, and after others
 * have worked with a VM. Where the store cannot be asked, VMs run on, and it is asked again until it answers.
 */
import { deadline } from '../../base/deadline.ts';
import { reasonOf } from '../../errors.ts';
import type { Host } from '../../host/host.ts';
import { stop } from '../../hypervisor/qmp/commands.ts';
import type { Ownership, OwnershipStore } from '../../ownership/store.ts';
import { qemuOf } from './connection.ts';
import type { VmRegistry } from './registry.ts';
import type { Slot, Slots } from './slots.ts';

const STORE_MS = 5_000;
/** A start waits so long for the store, which answers in milliseconds or is away; then it is asked again later. */
const START_MS = 1_000;
const PAUSE_MS = 5_000;
/** A QEMU whose monitor does not answer is asked often, and not long, as nobody else can work with the VM meanwhile. */
const FIND_MS = 1_000;
const AGAIN_MS = 5_000;

export interface RecordKeeperOptions {
  registry: Pick<VmRegistry, 'find' | 'look' | 'left' | 'define' | 'exclusively'>;
  slots: Slots;
  host: Host;
  ownership: OwnershipStore;
  migrating?: (vm: string) => boolean;
  /** Between two questions to a store that does not answer, ms. */
  againMs?: number;
}

const inTime = (ms = STORE_MS) => deadline('the ownership store', ms);

export class RecordKeeper {
  readonly #options: RecordKeeperOptions;
  /** VMs whose records are still to be looked at. */
  readonly #unasked = new Set<string>();
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RecordKeeperOptions) {
    this.#options = options;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#again);
  }

  /**
   * Holds VMs against their records, and frees what is claimed for those that do not run; later where that is not
   * possible now: VMs run on meanwhile, and none is started without its record.
   */
  async ask(names: readonly string[]): Promise<void> {
    for (const name of names) this.#unasked.add(name);
    await this.#askStore(START_MS);
  }

  /** Asks again after a while, about a VM too where one is named. */
  later(name?: string): void {
    if (name !== undefined) this.#unasked.add(name);
    clearTimeout(this.#again);
    const again = () => void this.#askStore();
    if (!this.#closed) this.#again = setTimeout(again, this.#options.againMs ?? AGAIN_MS).unref();
  }

  /** Finds out where a VM is, by the record and by what runs here. Whoever calls it keeps others from the VM. */
  async settle(name: string): Promise<void> {
    const { slots, ownership, registry } = this.#options;
    if (slots.find(name) === undefined) return;
    try {
      await this.#judge(name, await ownership.read(name, inTime()));
    } catch {
      await registry.find(name);
      this.later(name);
    }
  }

  async #askStore(limitMs = STORE_MS): Promise<void> {
    if (this.#closed) return;
    const { ownership, registry, host } = this.#options;
    try {
      const records = new Map((await ownership.list(inTime(limitMs))).map((record) => [record.vm, record]));
      for (const name of [...this.#unasked]) {
        this.#unasked.delete(name);
        // a migration that was taken up meanwhile judges by itself
        if (!this.#inOtherHands(name)) {
          await registry.exclusively(name, 'its record is looked at', async () => {
            const seen = records.get(name);
            const ours = seen?.owner === host.name;
            await this.#judge(name, ours ? seen : await this.#readAgain(name));
          });
        }
      }
      await this.#freeClaims();
    } catch (error) {
      this.#doubt(reasonOf(error));
      this.later();
    }
  }

  /** The list is a moment old by now. */
  async #readAgain(name: string): Promise<Ownership | undefined> {
    try {
      return await this.#options.ownership.read(name, inTime());
    } catch (error) {
      this.#unasked.add(name);
      throw error;
    }
  }

  #inOtherHands(name: string): boolean {
    const { slots, migrating } = this.#options;
    return slots.busy.has(name) || migrating?.(name) === true;
  }

  #doubt(why: string): void {
    const { slots } = this.#options;
    for (const name of this.#unasked) {
      const slot = slots.find(name);
      if (slot?.state !== 'running') continue;
      slot.verdict = `whether it may run is not known, as the store cannot be asked: ${why}`;
      if (!slots.busy.has(name)) slots.tell(name);
    }
  }

  /** Devices that are claimed for VMs of ours that do not run (any more). */
  async #freeClaims(): Promise<void> {
    const { ownership, host, slots, registry } = this.#options;
    for (const claim of await ownership.claims(host.name, inTime())) {
      const idle = () => slots.find(claim.vm)?.state === 'stopped';
      if (claim.migration !== undefined || !idle() || this.#inOtherHands(claim.vm)) continue;
      await registry.exclusively(claim.vm, 'its devices are freed', async () => {
        if (idle()) await ownership.releaseDevice(claim, inTime());
      });
    }
  }

  /** What the record says of a VM, done. @throws errors of the store */
  async #judge(name: string, record: Ownership | undefined): Promise<void> {
    const { slots, registry, host } = this.#options;
    const slot = slots.find(name);
    if (slot === undefined || slot.state === 'incoming') return;
    if (record !== undefined) slot.epoch = record.epoch;
    const ours = record?.owner === host.name;
    if (ours && slot.state === 'gone')
      registry.define(slot.definition ?? { spec: slot.spec, origin: 'arrived', adopted: null });
    if (slot.connection === undefined) await registry.find(name, FIND_MS);
    if (record === undefined || ours) {
      slot.verdict = slot.connection === undefined || ours ? undefined : 'no host owns it';
      return registry.look(name);
    }
    await this.#foreign(name, slot, `host "${record.owner}" owns it (epoch ${record.epoch})`);
  }

  /** Another host owns the VM: what runs of it here is paused, and told. */
  async #foreign(name: string, slot: Slot, who: string): Promise<void> {
    const { registry } = this.#options;
    const { connection } = slot;
    if (connection === undefined) {
      if (slot.state === 'stopped') registry.left(name, who);
      return;
    }
    slot.verdict = who;
    try {
      await stop(qemuOf(connection).monitor, { signal: deadline(`pausing VM "${name}"`, PAUSE_MS) });
      slot.verdict = `${who}, so it was paused here`;
      await registry.look(name);
    } catch (error) {
      slot.verdict = `${who}, and it could not be paused: ${reasonOf(error)}`;
    }
  }
}
