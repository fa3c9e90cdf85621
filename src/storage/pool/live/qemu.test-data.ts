/** A real QEMU without a guest that has a volume open, and a program that writes to it from outside, by NBD. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { deadline } from '../../../base/deadline.ts';
import { QmpClient } from '../../../hypervisor/qmp/client.ts';
import type { Pool } from '../pool.ts';
import { nodesOf } from './block-nodes.ts';

export const BLOCK = 4096;
const soon = () => deadline('a test', 120_000);

/** A QEMU with a free monitor: `monitor`. The volume is its node `vol0`, and is exported. */
export class TestQemu {
  readonly monitor: string;
  readonly nbd: string;
  readonly #child: ChildProcess;

  private constructor(directory: string, pool: string, offset: number, size: number) {
    this.monitor = join(directory, 'qmp');
    this.nbd = join(directory, 'nbd');
    const nodes = nodesOf(pool, { offset, size }, 'vol0', { direct: false, block: false });
    const argv = ['-accel', 'tcg', '-M', 'none', '-nodefaults', '-display', 'none', '-S'];
    for (const node of nodes) argv.push('-blockdev', JSON.stringify(node));
    argv.push('-qmp', `unix:${this.monitor},server=on,wait=off`);
    this.#child = spawn('qemu-system-x86_64', argv, { stdio: 'ignore' });
  }

  static async start(directory: string, pool: Pool, name: string): Promise<TestQemu> {
    const { offset, size } = pool.volume(name);
    const qemu = new TestQemu(directory, pool.device.path, offset, size);
    await using qmp = await QmpClient.connect({ path: qemu.monitor, name: 'test', signal: soon() });
    const addr = { type: 'unix', data: { path: qemu.nbd } };
    await qmp.execute('nbd-server-start', { addr });
    await qmp.execute('block-export-add', {
      type: 'nbd',
      id: 'e0',
      'node-name': 'vol0',
      name: 'vol',
      writable: true,
    });
    await pool.hold(name, { name: 'test', qemu: { monitor: qemu.monitor, node: 'vol0' } });
    return qemu;
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

/** Writes block after block, each with a number that grows, and remembers what was acknowledged after a flush. */
export class Writer {
  readonly #child: ChildProcess;
  readonly #blocks: number;
  readonly #lines: AsyncIterator<string>;
  /** Last acknowledged pattern of each block. */
  readonly acknowledged = new Map<number, number>();
  /** What was asked for and not acknowledged: it may be there or not. */
  pending: { block: number; pattern: number } | undefined;
  writes = 0;
  #stopped = false;

  constructor(nbd: string, size: number) {
    this.#blocks = size / BLOCK;
    this.#child = spawn('qemu-io', ['-f', 'raw', `nbd+unix:///vol?socket=${nbd}`], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const { stdout, stdin } = this.#child;
    if (stdout === null || stdin === null) throw new Error('qemu-io has no pipes');
    stdin.on('error', () => {}); // it ends with its QEMU
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  /** Writes until it is stopped or its QEMU ends. @returns whether it was stopped */
  async run(): Promise<boolean> {
    for (; !this.#stopped; this.writes += 1) {
      const block = (this.writes * 37) % this.#blocks;
      const pattern = 1 + (this.writes % 250);
      this.pending = { block, pattern };
      // -f: acknowledged when it is on the disk
      this.#child.stdin?.write(`write -f -P ${pattern} ${block * BLOCK} ${BLOCK}\n`);
      for (;;) {
        const { value, done } = await this.#lines.next();
        if (done || /failed|error/i.test(value)) return false;
        if (value.includes('ops;') || value.includes('ops,')) break;
      }
      this.acknowledged.set(block, pattern);
      this.pending = undefined;
    }
    return true;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async stop(running: Promise<boolean>): Promise<boolean> {
    this.#stopped = true;
    const stopped = await running;
    const exited = once(this.#child, 'exit');
    this.#child.stdin?.end('quit\n');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await exited;
    return stopped;
  }

  /** Blocks of a volume's bytes that do not have what was acknowledged. */
  missing(bytes: Buffer): string[] {
    return [...this.acknowledged].flatMap(([block, pattern]) => {
      const found = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
      const is = (value: number) => found.every((byte) => byte === value);
      const { pending } = this;
      if (is(pattern) || (pending?.block === block && is(pending.pattern))) return [];
      return [`block ${block}: ${pattern} was acknowledged, ${found[0]} is there`];
    });
  }
}
