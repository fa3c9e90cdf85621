/** The lab of the memory bench: one VM that goes to and fro, over a link that is as slow as the cell wants it. */
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { ShadowferryError } from '../../src/errors.ts';
import { Lab } from '../../src/lab/lab.ts';
import type { LinkShape } from '../../src/lab/network/shaping.ts';
import { ensureQemuTree } from '../../src/lab/qemu-tree/tree.ts';
import { migrateInLab, watchGuest } from '../../src/lab/scenario.ts';
import type { CopyTrace } from '../../src/memory/strategy/trace.ts';
import { type MigrationRequest, parseRequest } from '../../src/migration/request.ts';
import type { MigrationResult } from '../../src/migration/result.ts';
import { disconnectVm, type RunningVm } from '../../src/migration/vm.ts';
import { traceOf } from '../../src/observe/explain.ts';
import type { Measurement } from '../harness.ts';
import { costOf, lostTime } from './cost.ts';
import { prepare, start, stop, type Workload, work } from './workloads.ts';

export type BenchStrategy = 'precopy' | 'postcopy' | 'auto';

export interface MemoryCase {
  workload: Workload;
  link: LinkShape;
  strategy: BenchStrategy;
}

/** Before the emulator of QEMU 9, pre-copy loses pages. */
const QEMU = '10';
const MEMORY_MIB = 256;
/** Of a pre-copy, ms: what does not end by then is taken back, which is a failure of its strategy. */
const BUDGET_MS = 30_000;
/** To learn the guest's pace, ms. */
const PACE_MS = 2000;
/** After the migration, ms: what it still costs, pages that were fetched late among it. */
const AFTER_MS = 1000;

const MEBIBYTE = 1024 ** 2;

/** Often enough to see an outage of some 50 ms, and little enough for an emulated guest. */
const REQUESTS = { everyMs: 5, icmp: false } as const;

function requestFor(vm: RunningVm, strategy: BenchStrategy, copyMs: number): MigrationRequest {
  return parseRequest({
    ...{ vm: vm.qemu.spec.name, destination: vm.host.name === 'a' ? 'b' : 'a' },
    ...{ continuity: 'bridge', strategy, limits: { copyMs } },
  });
}

/** From the first byte of memory to the last; and how long the VM ran before the last came. */
function spans({ steps, marks, strategy }: MigrationResult): { totalMs: number; residualMs: number } {
  const copied = steps.find(({ name }) => name === 'copy memory');
  const drained = steps.find(({ name }) => name === 'drain the source');
  const runs = marks.find(({ name }) => name === 'vCPUs run')?.atMs;
  if (copied === undefined || drained === undefined || runs === undefined)
    throw new ShadowferryError('INTERNAL', { why: 'a migration that went well has no times' });
  const whole = strategy === 'postcopy' ? drained.startMs + drained.durationMs : runs;
  return { totalMs: whole - copied.startMs, residualMs: Math.max(0, whole - runs) };
}

export class MemoryStand {
  #lab: Lab | undefined;
  #vm: RunningVm | undefined;

  async #ready(): Promise<{ lab: Lab; vm: RunningVm }> {
    if (this.#lab === undefined) {
      const cacheDir = cacheDirectory();
      const { binary } = await ensureQemuTree(QEMU, { cacheDir, log: () => {} });
      const devices = { a: ['e1000e'], b: ['e1000e'] };
      const qemu = { binary, accelerator: 'tcg' } as const;
      this.#lab = await Lab.create({ cacheDir, devices, log: () => {}, qemu });
    }
    if (this.#vm === undefined) {
      this.#vm = await this.#lab.boot({ memoryMiB: MEMORY_MIB });
      await prepare(this.#vm);
    }
    return { lab: this.#lab, vm: this.#vm };
  }

  async measure({ workload, link, strategy }: MemoryCase): Promise<Measurement> {
    const { lab, vm } = await this.#ready();
    try {
      await lab.network?.setLink('migration', link);
      return await this.#moved(lab, vm, workload, strategy);
    } catch (error) {
      await this.#startAnew();
      throw error;
    }
  }

  /** Moves the guest for the sake of what the copy looks like alone. @throws what hinders it; a VM that was taken back does not */
  async record(
    { workload, link, strategy }: MemoryCase,
    copyMs: number,
  ): Promise<{ trace: CopyTrace; ending: string }> {
    const { lab, vm } = await this.#ready();
    const probes = workload === 'requests' ? await watchGuest(lab, 50_000, undefined, REQUESTS) : undefined;
    try {
      await lab.network?.setLink('migration', link);
      await start(vm, workload);
      const request = requestFor(vm, strategy, copyMs);
      const { result, destinationVm } = await migrateInLab({ lab, vm, request });
      if (destinationVm !== undefined) this.#vm = destinationVm;
      const trace = traceOf(lab.journal.notes(result.id));
      if (trace === undefined || (!result.ok && result.ending !== 'rolled-back'))
        throw new ShadowferryError('MIGRATION_FAILED', { why: `${result.ending}: ${result.error?.message}` });
      await stop(this.#vm ?? vm);
      return { trace, ending: result.ending };
    } catch (error) {
      await this.#startAnew();
      throw error;
    } finally {
      probes?.kill();
    }
  }

  async #moved(lab: Lab, vm: RunningVm, workload: Workload, strategy: BenchStrategy): Promise<Measurement> {
    const asked = workload === 'requests';
    const probes = asked ? await watchGuest(lab, 50_000, undefined, REQUESTS) : undefined;
    try {
      await start(vm, workload);
      const before = await work(vm);
      await delay(PACE_MS);
      const from = await work(vm);
      const request = requestFor(vm, strategy, BUDGET_MS);
      const { result, destinationVm } = await migrateInLab({ lab, vm, request });
      if (destinationVm !== undefined) this.#vm = destinationVm;
      const now = this.#vm ?? vm;
      if (!result.ok) {
        if (result.ending === 'rolled-back') await stop(now);
        throw new ShadowferryError('MIGRATION_FAILED', {
          why: `${result.ending}: ${result.error?.message ?? 'no reason given'}`,
        });
      }
      await delay(AFTER_MS);
      const until = await work(now);
      await stop(now);
      const seen = await probes?.stop();
      const { totalMs, residualMs } = spans(result);
      const blackoutMs = result.blackoutMs ?? 0;
      // a workload that stops by itself has no pace to be held against
      const measured = workload === 'midway' ? null : lostTime(before, from, until);
      const lostMs = Math.max(measured ?? 0, blackoutMs);
      const outageMs = seen?.outageMs.tcp ?? null;
      const trace = traceOf(lab.journal.notes(result.id));
      const { shadow: _, nics: __, progress: ___, ...kept } = result;
      const at = (name: string) => result.marks.find((mark) => mark.name === name)?.atMs;
      const [left, back] = [at('traffic left the device'), at('traffic on the device')];
      return {
        metrics: {
          cost: costOf({ totalMs, lostMs, outageMs, residualMs }),
          ...{ totalMs, blackoutMs, outageMs, lostMs, residualMs },
          megabytes: result.memoryBytes / MEBIBYTE,
          done: until.done - from.done,
          degradedMs: left === undefined || back === undefined ? null : back - left,
          switched: result.strategy === 'postcopy' ? 1 : 0,
        },
        flags: seen !== undefined && seen.lateMs.tcp * 4 > seen.outageMs.tcp ? ['the probe was late'] : [],
        raw: { ...kept, trace },
      };
    } finally {
      probes?.kill();
    }
  }

  /** A guest that may be damaged, or still busy, is no guest for the next cell. */
  async #startAnew(): Promise<void> {
    const lab = this.#lab;
    this.#vm = undefined;
    this.#lab = undefined;
    await lab?.dispose();
  }

  async dispose(): Promise<void> {
    if (this.#vm !== undefined) await disconnectVm(this.#vm);
    await this.#startAnew();
  }
}
