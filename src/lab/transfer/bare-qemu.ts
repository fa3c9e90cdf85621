/** A QEMU with a guest that only writes memory, which lies in a file, so that it can be looked at from outside. */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  identify,
  type ProcessIdentity,
  signalProcess,
  spawnDetached,
  untilEnded,
} from '../../base/process.ts';
import { QmpClient } from '../../hypervisor/qmp/client.ts';

export interface BareOptions {
  binary: string;
  memoryMiB: number;
  /** Disk that it boots from. */
  disk: string;
  incoming: boolean;
  /** Versioned, where two versions of QEMU must agree. */
  machine: string;
  signal: AbortSignal;
}

const END_MS = 10_000;
/** Post-copy takes shared memory only on a file system of memory. */
const SHARED_DIRECTORY = '/dev/shm';

export class BareQemu {
  readonly directory: string;
  readonly monitor: QmpClient;
  readonly memory: string;
  readonly #identity: ProcessIdentity | undefined;

  private constructor(directory: string, monitor: QmpClient, identity: ProcessIdentity | undefined) {
    this.directory = directory;
    this.monitor = monitor;
    this.memory = join(directory, 'memory');
    this.#identity = identity;
  }

  /** Starts it with its vCPU stopped. */
  static async start({ binary, memoryMiB, disk, incoming, machine, signal }: BareOptions): Promise<BareQemu> {
    const directory = mkdtempSync(join(SHARED_DIRECTORY, 'shadowferry-bare-'));
    const memory = join(directory, 'memory');
    const child = spawnDetached(
      [
        binary,
        ...['-object', `memory-backend-file,id=pc.ram,size=${memoryMiB}M,share=on,mem-path=${memory}`],
        ...[
          '-machine',
          `${machine},memory-backend=pc.ram,vmport=off`,
          '-accel',
          'tcg',
          '-m',
          String(memoryMiB),
        ],
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-S'],
        ...['-blockdev', `driver=file,node-name=boot,read-only=on,filename=${disk}`],
        ...['-device', 'virtio-blk-pci,drive=boot,bootindex=0'],
        ...['-chardev', `socket,id=mon0,path=${join(directory, 'qmp.sock')},server=on,wait=off`],
        ...['-mon', 'chardev=mon0,mode=control'],
        ...(incoming ? ['-incoming', 'defer'] : []),
      ],
      join(directory, 'qemu.log'),
    );
    const identity = identify(child.pid);
    const early = new AbortController();
    void child.exited.then((how) => early.abort(new Error(`QEMU ended: ${how}`)));
    const name = `bare@${directory}`;
    const both = AbortSignal.any([signal, early.signal]);
    const monitor = await QmpClient.connect({ path: join(directory, 'qmp.sock'), name, signal: both });
    return new BareQemu(directory, monitor, identity);
  }

  /** Writes into its memory from outside; not while it is migrated. */
  poke(at: number, bytes: Uint8Array): void {
    const file = openSync(this.memory, 'r+');
    writeSync(file, bytes, 0, bytes.length, at);
    closeSync(file);
  }

  peek(at: number, count: number): Buffer {
    const bytes = Buffer.alloc(count);
    const file = openSync(this.memory, 'r');
    readSync(file, bytes, 0, count, at);
    closeSync(file);
    return bytes;
  }

  async end(): Promise<void> {
    await this.monitor.close();
    if (this.#identity !== undefined) {
      signalProcess(this.#identity, 'SIGKILL');
      await untilEnded(this.#identity, END_MS);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const PAGE_BYTES = 4096;
const PART_BYTES = 4 * 1024 * 1024;

/** Numbers of the pages that differ between the memories of two QEMUs that stand still. */
export function differingPages(one: BareQemu, other: BareQemu): number[] {
  const length = statSync(one.memory).size;
  const found: number[] = [];
  for (let at = 0; at < length; at += PART_BYTES) {
    const [here, there] = [one.peek(at, PART_BYTES), other.peek(at, PART_BYTES)];
    if (here.equals(there)) continue;
    for (let n = 0; n < PART_BYTES; n += PAGE_BYTES) {
      const end = n + PAGE_BYTES;
      if (!here.subarray(n, end).equals(there.subarray(n, end))) found.push((at + n) / PAGE_BYTES);
    }
  }
  return found;
}
