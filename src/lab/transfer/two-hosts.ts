/** A VM that only writes memory, and two hosts between which it goes, each with a page store of its own. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cont } from '../../hypervisor/qmp/commands.ts';
import { PageStores } from '../../memory/transfer/pages/stores.ts';
import { type BareOptions, BareQemu } from './bare-qemu.ts';
import { type Moved, type MoveOptions, moveBare } from './move.ts';
import { COUNTED_AT, type WriterOptions, writeWriterDisk } from './writer-guest.ts';

const MIB = 2 ** 20;
/** Where data of its own lies in the guest's memory; the guest itself never goes there. */
const DATA_FROM = 24 * MIB;
const LOOK_MS = 20;
const STORE_BYTES = 2 ** 30;

export interface TwoHostsOptions {
  /** QEMU of each host. */
  binaries: readonly [string, string];
  memoryMiB: number;
  /** Unlike pages that it has from the start, MiB. */
  dataMiB: number;
  /** What its guest does; left out, it never runs. */
  writer?: WriterOptions;
  machine: string;
}

type HostName = 'a' | 'b';

/** One way there. */
export type TripOptions = Omit<MoveOptions, 'source' | 'destination' | 'vm' | 'epoch' | 'stores'> & {
  /** Without page stores. */
  bare?: boolean;
};

export class TwoHosts {
  readonly stores: Readonly<Record<HostName, PageStores>>;
  readonly #directory: string;
  readonly #options: TwoHostsOptions;
  #here: HostName = 'a';
  #vm: BareQemu;
  /** What is left of it where it was, until it is not looked at any more. */
  #left: BareQemu | undefined;
  #epoch = 1;

  private constructor(directory: string, options: TwoHostsOptions, vm: BareQemu) {
    this.#directory = directory;
    this.#options = options;
    this.#vm = vm;
    const stores = (name: HostName) => new PageStores(join(directory, name), STORE_BYTES);
    this.stores = { a: stores('a'), b: stores('b') };
  }

  /** Starts the VM on host a, and waits until it writes. */
  static async start(options: TwoHostsOptions, signal: AbortSignal): Promise<TwoHosts> {
    const directory = mkdtempSync(join(tmpdir(), 'shadowferry-transfer-'));
    writeWriterDisk(join(directory, 'disk'), options.writer ?? { bytes: 4, pace: 1 });
    const vm = await BareQemu.start(bareOptions(directory, options, 0, false, signal));
    const made = new TwoHosts(directory, options, vm);
    for (let n = 0; n < options.dataMiB; n++) made.write(n);
    if (options.writer === undefined) return made;
    await cont(vm.monitor);
    await made.untilWrites(signal);
    return made;
  }

  get vm(): BareQemu {
    return this.#vm;
  }

  get here(): HostName {
    return this.#here;
  }

  get there(): HostName {
    return this.#here === 'a' ? 'b' : 'a';
  }

  /** New data in one MiB of the VM's own; not while it moves. */
  write(mib: number): void {
    this.#vm.poke(DATA_FROM + mib * MIB, randomBytes(MIB));
  }

  async untilWrites(signal: AbortSignal): Promise<void> {
    const count = () => this.#vm.peek(COUNTED_AT, 4).readUInt32LE();
    const before = count();
    while (count() === before) await delay(LOOK_MS, undefined, { signal });
  }

  /**
   * Moves the VM to the other host, where it waits, paused. What is left of it can be compared until `goOn`.
   * @throws what `moveBare` throws; the VM is where it was then, and nothing is left on the other host
   */
  async move(trip: TripOptions): Promise<Moved & { left: BareQemu; arrived: BareQemu }> {
    const [here, there] = [this.#here, this.there];
    const options = bareOptions(this.#directory, this.#options, there === 'a' ? 0 : 1, true, trip.signal);
    const arrived = await BareQemu.start(options);
    const { bare = false, ...rest } = trip;
    const stores = { source: this.stores[here], destination: this.stores[there] };
    try {
      const moved = await moveBare({
        ...{ ...rest, source: this.#vm, destination: arrived, vm: 'web1', epoch: this.#epoch },
        ...(bare ? {} : { stores }),
      });
      const left = this.#vm;
      this.#left = left;
      this.#vm = arrived;
      this.#here = there;
      this.#epoch += 1;
      return { ...moved, left, arrived };
    } catch (error) {
      await arrived.end();
      throw error;
    }
  }

  /** What was left of the VM where it was is not needed any more. */
  async leave(): Promise<void> {
    await this.#left?.end();
    this.#left = undefined;
  }

  /** The VM runs where it is now; what was left of it elsewhere ends. */
  async goOn(signal: AbortSignal): Promise<void> {
    await this.leave();
    await cont(this.#vm.monitor);
    await this.untilWrites(signal);
  }

  async end(): Promise<void> {
    await this.#left?.end();
    await this.#vm.end();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function bareOptions(
  directory: string,
  { binaries, memoryMiB, machine }: TwoHostsOptions,
  host: 0 | 1,
  incoming: boolean,
  signal: AbortSignal,
): BareOptions {
  return { binary: binaries[host], memoryMiB, machine, incoming, disk: join(directory, 'disk'), signal };
}
