/** What a daemon costs that has nothing to do but to keep a hundred VMs, which it found again at its start. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { deadline } from '../../src/base/deadline.ts';
import { API } from '../../src/daemon/api/contract.ts';
import { LabDaemons } from '../../src/lab/daemons.ts';
import { NETWORK } from '../../src/lab/lab.ts';
import type { Measurement } from '../harness.ts';
import { processorMs, residentBytes, untilHealthy } from './one.ts';
import { stillKernel } from './still-kernel.ts';

export const VMS = 100;
const MEMORY_MIB = 64;
const MODEL = 'e1000e';
/** Starts at once: the firmware of each takes its time under an emulator. */
const AT_ONCE = 4;
const START_MS = 60_000;
const FOUND_MS = 60_000;
const WINDOW_MS = 60_000;

const vmName = (n: number) => `still${n}`;

/** The hosts of the lab, with VMs on the first that run and do nothing. */
export class IdleHost {
  readonly #lab: LabDaemons;

  private constructor(lab: LabDaemons) {
    this.#lab = lab;
  }

  /** Builds it and starts the VMs by the API. */
  static async create(): Promise<IdleHost> {
    const devices = { a: Array.from({ length: VMS }, () => MODEL), b: [] };
    const host = new IdleHost(await LabDaemons.create({ devices, members: 1 }));
    try {
      await host.#startVms();
      return host;
    } catch (error) {
      await host.dispose();
      throw error;
    }
  }

  async #startVms(): Promise<void> {
    const kernel = join(this.#lab.directory, 'still.bin');
    writeFileSync(kernel, stillKernel());
    const numbers = Array.from({ length: VMS }, (_, n) => n).values();
    const some = async () => {
      for (const n of numbers) await this.#startVm(n, kernel);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some));
  }

  async #startVm(n: number, kernel: string): Promise<void> {
    const { client } = this.#lab.daemons.a;
    const mac = `52:54:00:5f:00:${n.toString(16).padStart(2, '0')}`;
    const nic = { id: 'net0', mac, network: NETWORK, device: `nic${n}`, standby: 'virtio' as const };
    const body = { name: vmName(n), memoryMiB: MEMORY_MIB, boot: { kernel }, nics: [nic] };
    const signal = deadline(`starting VM ${n}`, START_MS);
    await client.call(API.defineVm, { params: {}, query: {}, body }, { signal });
    await client.call(API.startVm, { params: { vm: vmName(n) }, query: {}, body: {} }, { signal });
  }

  /** Starts the daemon anew, waits until it has found its VMs, and leaves it alone for a minute. */
  async measure(): Promise<Measurement> {
    const { daemons, places } = this.#lab;
    await daemons.a.stop();
    const began = performance.now();
    const [startMs] = await Promise.all([
      untilHealthy(places.a.socket, deadline('the start of the daemon', START_MS)).then(
        () => performance.now() - began,
      ),
      daemons.a.start(),
    ]);
    const running = await this.#untilFound();
    const { pid } = daemons.a;
    if (pid === undefined) throw new Error('the daemon ended');
    const before = { at: performance.now(), cpu: processorMs(pid), resident: residentBytes(pid) };
    await delay(WINDOW_MS);
    const used = processorMs(pid) - before.cpu;
    const tookMs = performance.now() - before.at;
    const resident = residentBytes(pid);
    const metrics = {
      residentMB: resident / 1e6,
      cpuPercent: (used / tookMs) * 100,
      startMs,
    };
    return { metrics, flags: [], raw: { running, usedMs: used, tookMs, before, resident } };
  }

  async #untilFound(): Promise<number> {
    const { client } = this.#lab.daemons.a;
    const signal = deadline('finding the VMs again', FOUND_MS);
    const piece = (cursor: string | undefined) => ({
      params: {},
      query: { state: 'running' as const, limit: VMS, cursor },
    });
    for (;;) {
      let running = 0;
      for await (const _ of client.items(API.listVms, piece)) running += 1;
      if (running === VMS) return running;
      signal.throwIfAborted();
      await delay(200);
    }
  }

  dispose(): Promise<void> {
    return this.#lab.dispose();
  }
}
