/**
 * What the shadow costs while nothing migrates: throughput and guest CPU with a shadow interface and a watch, against
 * the bare device. One guest, one boot: the interface is adopted and given back between the rounds, which go bare,
 * shadow, shadow, bare, … so that a slow spell of the machine falls on both. The same state measured twice in a row
 * tells how far two equal things lie apart here.
 *
 * An emulated machine is fast or slow for seconds at a time, by how its peers' packets happen to come together. So the
 * guest's work is also counted in instructions: QEMU counts them (`-icount`) and tells their number (`query-replay`).
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { cacheDirectory } from '../src/base/cache-dir.ts';
import { deadline } from '../src/base/deadline.ts';
import { ShadowferryError } from '../src/errors.ts';
import { guestPciPath } from '../src/hypervisor/qemu/pci.ts';
import { channelPorts, nicIds } from '../src/hypervisor/qemu/spec.ts';
import { GUEST_ADDRESS, GUEST_INTERFACE } from '../src/lab/guest-setup.ts';
import { Lab } from '../src/lab/lab.ts';
import { channelOf, type RunningVm } from '../src/migration/vm.ts';
import { watchVm } from '../src/observe/watch.ts';
import type { WatchEvent } from '../src/observe/watch-events.ts';
import { adoptInterface, giveBackInterface } from '../src/shadow/net/adopt.ts';
import { IDLE_SHARE } from '../src/shadow/watch/budget.ts';
import type { Bench } from './bench.ts';
import { atLeast, type Goal, type Measurement, type Sample, series } from './harness.ts';
import { ratioInterval, ratios } from './stats.ts';

const PEER = fileURLToPath(new URL('./bulk-peer.ts', import.meta.url));
const DEVICE = 'e1000e';
const WARM_MS = 1_500;
const WINDOW_MS = 4_000;
const IDLE_MS = 4_000;
/** After the interface became another: its link is up, its peers know it. */
const CALM_MS = 2_000;
const SETUP_MS = 60_000;
const [SINK, SOURCE] = [5001, 5002];

/** Neither end of the load does any work of its own. */
const SERVICES = `
(socat -u TCP-LISTEN:${SINK},reuseaddr,fork OPEN:/dev/null,wronly &) </dev/null >/dev/null 2>&1
(socat -U TCP-LISTEN:${SOURCE},reuseaddr,fork OPEN:/dev/zero,rdonly &) </dev/null >/dev/null 2>&1
`;

type State = 'bare' | 'shadow';

interface Load {
  bytes: number;
  ms: number;
  instructions: number;
}

/** QEMU as the machine has it, told to count instructions (8 ns each, so that the guest's clock is about right). */
function countingQemu(): { binary: string; remove: () => void } {
  const directory = mkdtempSync(join(tmpdir(), 'sf-bench-'));
  const binary = join(directory, 'qemu');
  const program = '#!/bin/sh\nexec qemu-system-x86_64 -icount shift=3,sleep=on,align=off "$@"\n';
  writeFileSync(binary, program, { mode: 0o700 });
  return { binary, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** The one guest of all rounds. */
class Guest {
  readonly #lab: Lab;
  readonly #vm: RunningVm;
  readonly #removeQemu: () => void;
  #state: State = 'bare';
  #ending: AbortController | undefined;
  #watching: Promise<void> | undefined;

  private constructor(lab: Lab, vm: RunningVm, removeQemu: () => void) {
    this.#lab = lab;
    this.#vm = vm;
    this.#removeQemu = removeQemu;
  }

  static async boot(): Promise<Guest> {
    const { binary, remove } = countingQemu();
    const lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: [DEVICE], b: [] },
      log: () => {},
      qemu: { binary, accelerator: 'tcg' },
    });
    try {
      const vm = await lab.boot({ standby: 'virtio', setup: { extra: SERVICES } });
      return new Guest(lab, vm, remove);
    } catch (error) {
      await lab.dispose();
      remove();
      throw error;
    }
  }

  async become(state: State): Promise<void> {
    if (state === this.#state) return;
    await this.#endWatch();
    const vm = this.#vm;
    const { monitor, spec, directory } = vm.qemu;
    const nic = spec.nics[0];
    const port = channelPorts(spec, directory)[0];
    if (nic === undefined || port === undefined) throw new ShadowferryError('INTERNAL', { why: 'no NIC' });
    const ids = nicIds(nic);
    const options = {
      agent: vm.agent,
      channel: channelOf(vm, nic.id),
      identity: { mac: nic.mac, pciPath: await guestPciPath(monitor, ids.directPort) },
      standbyPciPath: await guestPciPath(monitor, ids.standbyPort),
      dir: `/run/shadowferry/${nic.id}`,
      port: port.guestPath,
      signal: deadline('adopting', SETUP_MS),
    };
    const { changed } = await (state === 'shadow' ? adoptInterface : giveBackInterface)(options);
    if (!changed) throw new ShadowferryError('INTERNAL', { why: `the interface did not become ${state}` });
    this.#state = state;
    if (state === 'shadow') await this.#startWatch();
    await delay(CALM_MS);
  }

  /** As `shadowferry shadow watch` does, but for the VM's connections, which are ours already. */
  async #startWatch(): Promise<void> {
    const { host, qemu } = this.#vm;
    const ending = new AbortController();
    const started = Promise.withResolvers<void>();
    const watching = watchVm({
      access: {
        vm: qemu.spec.name,
        place: async () => ({ host: host.name, directory: qemu.directory }),
        busy: () => false,
        look: async (_, act) => act(this.#vm),
      },
      store: this.#lab.shadows,
      signal: ending.signal,
      emit: (event: WatchEvent) => {
        if (event.type === 'watching') started.resolve();
      },
    });
    this.#ending = ending;
    this.#watching = watching;
    await Promise.race([started.promise, watching]);
  }

  async #endWatch(): Promise<void> {
    this.#ending?.abort();
    await this.#watching;
    this.#ending = undefined;
    this.#watching = undefined;
  }

  async measure(): Promise<Measurement> {
    const into = await this.#load('in', SINK);
    const out = await this.#load('out', SOURCE);
    const before = await this.#instructions();
    await delay(IDLE_MS);
    const idle = (await this.#instructions()) - before;
    const mib = ({ bytes }: Load) => bytes / 1024 ** 2;
    return {
      metrics: {
        inMiBs: mib(into) / (into.ms / 1000),
        outMiBs: mib(out) / (out.ms / 1000),
        inWork: into.instructions / 1e6 / mib(into),
        outWork: out.instructions / 1e6 / mib(out),
        idleWork: idle / 1e6 / (IDLE_MS / 1000),
      },
      flags: [],
      raw: { into, out, idle },
    };
  }

  async #load(direction: 'in' | 'out', port: number): Promise<Load> {
    const words = [GUEST_ADDRESS, port, direction, WARM_MS, WINDOW_MS].map(String);
    const [program, ...args] = this.#lab.outside([process.execPath, PEER, ...words]);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let before = 0;
    let result: Load | undefined;
    for await (const line of createInterface({ input: child.stdout })) {
      const instructions = await this.#instructions();
      if (line === 'measuring') before = instructions;
      else {
        const { bytes, ms } = z.object({ bytes: z.number(), ms: z.number() }).parse(JSON.parse(line));
        result = { bytes, ms, instructions: instructions - before };
      }
    }
    if (result === undefined) throw new ShadowferryError('PROBE_FAILED', { probe: 'bulk', why: 'it ended' });
    return result;
  }

  /** Instructions that the guest has executed since it was started. */
  async #instructions(): Promise<number> {
    const Counted = z.object({ icount: z.number() });
    return (await this.#vm.qemu.monitor.execute('query-replay', undefined, { schema: Counted })).icount;
  }

  async dispose(): Promise<void> {
    await this.#endWatch().catch(() => {});
    await this.#lab.dispose();
    this.#removeQemu();
  }
}

let guest: Guest | undefined;

async function measureAs(state: State): Promise<Measurement> {
  if (guest === undefined) {
    guest = await Guest.boot();
    await delay(CALM_MS);
  }
  await guest.become(state);
  return guest.measure();
}

/** Pairs of the same state measured one right after the other, as the order of the rounds makes them. */
export function samePairs(samples: readonly Sample[], metric: string): number[] {
  const found: number[] = [];
  for (const [at, sample] of samples.entries()) {
    const before = samples[at - 1];
    if (before === undefined || before.cell !== sample.cell) continue;
    const [a, b] = [before, sample].map(({ measurement }) => measurement?.metrics[metric] ?? null);
    found.push(...ratios([b ?? null], [a ?? null]));
  }
  return found;
}

/** The goals, each with what it says about the measurement itself. */
function goals(samples: readonly Sample[]): Goal[] {
  const ratioOf = (metric: string, better: 'more' | 'less') => {
    const [bare, shadow] = ['bare', 'shadow'].map((cell) => series(samples, cell, metric));
    const found = better === 'more' ? ratios(shadow ?? [], bare ?? []) : ratios(bare ?? [], shadow ?? []);
    const same = ratioInterval(samePairs(samples, metric));
    const interval = ratioInterval(found);
    // the slow look is bounded by its share, and comes too seldom to fall into a window
    const value = interval === null ? null : interval.ratio * (1 - IDLE_SHARE);
    const range = interval === null ? '' : ` [${interval.low.toFixed(4)}–${interval.high.toFixed(4)}]`;
    const noise =
      same === null
        ? ''
        : `, equal states ${same.ratio.toFixed(4)} [${same.low.toFixed(4)}–${same.high.toFixed(4)}]`;
    return { value, text: `95 %${range} of ${interval?.n ?? 0} pairs${noise}` };
  };
  const goal = (id: string, metric: string, better: 'more' | 'less') => {
    const { value, text } = ratioOf(metric, better);
    return atLeast(`${id}, ${text}`, value, 0.995);
  };
  return [
    goal('throughput into the guest', 'inMiBs', 'more'),
    goal('throughput out of the guest', 'outMiBs', 'more'),
    goal('instructions per byte in (bare by shadow)', 'inWork', 'less'),
    goal('instructions per byte out (bare by shadow)', 'outWork', 'less'),
  ];
}

export const passive: Bench = {
  name: 'passive',
  about: 'what a shadow interface and a watch cost while nothing migrates',
  cells: [
    { name: 'bare', what: `${DEVICE}, as the guest has it`, measure: () => measureAs('bare') },
    {
      name: 'shadow',
      what: `a bond above ${GUEST_INTERFACE}, and "shadow watch" running`,
      measure: () => measureAs('shadow'),
    },
  ],
  columns: {
    inMiBs: 'in, MiB/s',
    outMiBs: 'out, MiB/s',
    inWork: '10⁶ instr./MiB in',
    outWork: '10⁶ instr./MiB out',
    idleWork: 'idle, 10⁶ instr./s',
  },
  goals,
  runs: 12,
  finish: async () => {
    await guest?.dispose();
    guest = undefined;
  },
};
