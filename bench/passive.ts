/**
 * What the shadow costs while nothing migrates: throughput and guest CPU with a shadow interface and a watch, against
 * the bare device. One guest, one boot: the interface is adopted and given back between the rounds, which go bare,
 * shadow, shadow, bare, … so that a slow spell of the machine falls on both. The same state measured twice in a row
 * tells how far two equal things lie apart here.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
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
const WINDOW_MS = 6_000;
const IDLE_MS = 6_000;
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

/** The one guest of all rounds. */
class Guest {
  readonly #lab: Lab;
  readonly #vm: RunningVm;
  #state: State = 'bare';
  #ending: AbortController | undefined;
  #watching: Promise<void> | undefined;

  private constructor(lab: Lab, vm: RunningVm) {
    this.#lab = lab;
    this.#vm = vm;
  }

  static async boot(): Promise<Guest> {
    const lab = await Lab.create({
      cacheDir: cacheDirectory(),
      devices: { a: [DEVICE], b: [] },
      log: () => {},
    });
    try {
      const vm = await lab.boot({ standby: 'virtio', setup: { extra: SERVICES } });
      return new Guest(lab, vm);
    } catch (error) {
      await lab.dispose();
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
    const before = this.#cpuMs();
    await delay(IDLE_MS);
    const idle = (this.#cpuMs() - before) / IDLE_MS;
    return {
      metrics: {
        inMiBs: into.bytes / 1024 ** 2 / (into.ms / 1000),
        outMiBs: out.bytes / 1024 ** 2 / (out.ms / 1000),
        inCpu: into.cpuMs / (into.bytes / 1024 ** 2),
        outCpu: out.cpuMs / (out.bytes / 1024 ** 2),
        idlePercent: idle * 100,
      },
      flags: [],
      raw: { into, out, idle },
    };
  }

  async #load(direction: 'in' | 'out', port: number): Promise<{ bytes: number; ms: number; cpuMs: number }> {
    const words = [GUEST_ADDRESS, port, direction, WARM_MS, WINDOW_MS].map(String);
    const [program, ...args] = this.#lab.outside([process.execPath, PEER, ...words]);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    let before = 0;
    let result: { bytes: number; ms: number; cpuMs: number } | undefined;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'measuring') before = this.#cpuMs();
      else {
        const { bytes, ms } = z.object({ bytes: z.number(), ms: z.number() }).parse(JSON.parse(line));
        result = { bytes, ms, cpuMs: this.#cpuMs() - before };
      }
    });
    await ended;
    if (result === undefined) throw new ShadowferryError('PROBE_FAILED', { probe: 'bulk', why: 'it ended' });
    return result;
  }

  /** Time that the VM's only vCPU has run, ms: what the guest used, by the host's clock. */
  #cpuMs(): number {
    const { pid } = this.#vm.qemu.identity;
    const [running = ''] = readFileSync(`/proc/${pid}/task/${this.#vcpu()}/schedstat`, 'utf8').split(' ');
    return Number(running) / 1e6;
  }

  #thread: number | undefined;

  #vcpu(): number {
    if (this.#thread === undefined) throw new ShadowferryError('INTERNAL', { why: 'no vCPU thread' });
    return this.#thread;
  }

  /** Asks QEMU which thread is the vCPU. */
  async find(): Promise<void> {
    const Cpus = z.array(z.object({ 'thread-id': z.number() }));
    const [cpu] = await this.#vm.qemu.monitor.execute('query-cpus-fast', undefined, { schema: Cpus });
    this.#thread = cpu?.['thread-id'];
  }

  async dispose(): Promise<void> {
    await this.#endWatch().catch(() => {});
    await this.#lab.dispose();
  }
}

let guest: Guest | undefined;

async function measureAs(state: State): Promise<Measurement> {
  if (guest === undefined) {
    guest = await Guest.boot();
    await guest.find();
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
    goal('guest CPU per byte in (bare by shadow)', 'inCpu', 'less'),
    goal('guest CPU per byte out (bare by shadow)', 'outCpu', 'less'),
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
    inCpu: 'CPU ms/MiB in',
    outCpu: 'CPU ms/MiB out',
    idlePercent: 'idle CPU %',
  },
  goals,
  runs: 8,
  finish: async () => {
    await guest?.dispose();
    guest = undefined;
  },
};
