import { fileURLToPath } from 'node:url';
import { deadline, raceSignal } from '../../base/deadline.ts';
import { icmpProbeCommand } from './icmp-probe.ts';
import type { ConnectionResult } from './messages.ts';
import type { Gap } from './meters.ts';
import { type ProbeProcess, type ProbeReport, startProbeProcess } from './process.ts';
import { mergeThroughput, type Throughput } from './throughput.ts';

export interface ProbeOptions {
  /** The beginning of a command line that runs the rest elsewhere, as `inNamespace(netns, [])` gives it; [] for here. */
  enter: readonly string[];
  /** The guest's address, IPv4 or IPv6. */
  target: string;
  /** Measure ICMP echo as well; needs the right to open raw sockets. */
  icmp: boolean;
  /**
   * How often the probes ask for an echo, ms; 2 unless told. Who only wants to know that connections live takes
   * {@link UNHURRIED}: the guest has more time for itself, and the machine for the guest.
   */
  everyMs?: number;
  /** The length of a bucket of `throughput`; 20 unless told. */
  sampleMs?: number;
  /** Bytes per second of each of the two bulk connections; 2000000 unless told. */
  bulkRate?: number;
  /** How long to try at the start; 10000 unless told. */
  readyMs?: number;
  /** How long connections may take to recover at the end; 15000 unless told. */
  finishMs?: number;
  /** Where the guest's services are, when not at their own ports. */
  ports?: { echo: number; digest: number; source: number };
  /** Ends the probes; `ready` and `stop` reject. */
  signal?: AbortSignal;
}

/** What a peer outside has seen of the guest. */
export interface ProbeResult {
  connections: {
    opened: number;
    survived: number;
    outOfOrder: number;
    corrupt: number;
    each: ConnectionResult[];
  };
  /** The longest gap between answers that follow each other; null where it was not measured. */
  outageMs: { tcp: number; icmp: number | null };
  /** Gaps of more than 20 ms, or of ten times `everyMs`. */
  gaps: { tcp: Gap[]; icmp: Gap[] };
  throughput: Throughput[];
  /** The longest time that a probe was not run by this machine when it wanted to: gaps of this size say nothing. */
  lateMs: { tcp: number; connections: number; icmp: number | null };
}

export interface Probes {
  /** All connections are open and answer. @throws ShadowferryError PROBE_FAILED */
  readonly ready: Promise<void>;
  /** Checks the connections a last time, ends the processes and gives the result. @throws ShadowferryError PROBE_FAILED, DEADLINE */
  stop(): Promise<ProbeResult>;
  /** Ends the processes at once, without a result. May be called at any time. */
  kill(): void;
}

/** Probes that show whether connections live, and measure nothing: guest and probes need a third of the processor time. */
export const UNHURRIED = { everyMs: 25, bulkRate: 50_000, icmp: false } as const;

const EVERY_MS = 2;
/** Answers that are missing are a gap. */
const GAP_ANSWERS = 10;
const BULK_EVERY_MS = 10;
/** Beyond the time that connections may take to recover, for the processes to start and end. */
const SPARE_MS = 5000;

/** Starts the probes, each in a process of its own so that nothing but the machine's load disturbs them. */
export function startProbes(options: ProbeOptions): Probes {
  const {
    enter,
    target,
    everyMs = EVERY_MS,
    sampleMs = 20,
    readyMs = 10_000,
    finishMs = 15_000,
    signal,
  } = options;
  const gapMs = GAP_ANSWERS * everyMs;
  const { echo, digest, source } = options.ports ?? { echo: 7, digest: 9, source: 19 };
  const start = (name: string, argv: readonly string[]): ProbeProcess => {
    const [program = '', ...args] = [...enter, ...argv];
    return startProbeProcess(name, [program, ...args]);
  };
  const common = flags({ target, 'sample-ms': sampleMs, 'ready-ms': readyMs, 'finish-ms': finishMs });
  const tcp = start('tcp', [
    ...script('tcp-probe'),
    ...common,
    ...flags({ port: echo, 'every-ms': everyMs, 'gap-ms': gapMs }),
  ]);
  const connections = start('connections', [
    ...script('connections'),
    ...common,
    ...flags({
      'echo-port': echo,
      'digest-port': digest,
      'source-port': source,
      'every-ms': Math.max(everyMs, BULK_EVERY_MS),
      'bulk-rate': options.bulkRate ?? 2_000_000,
    }),
  ]);
  const icmp = options.icmp
    ? start('icmp', icmpProbeCommand({ target, intervalMs: everyMs, gapMs, readyMs }))
    : undefined;
  const all = [tcp, connections, ...(icmp ? [icmp] : [])];
  const kill = () => {
    for (const probe of all) probe.kill();
  };
  signal?.addEventListener('abort', kill, { once: true });
  if (signal?.aborted) kill();
  const ready = raceSignal(Promise.all(all.map((probe) => probe.ready)), signal).then(() => {});
  ready.catch(() => {}); // who only stops hears of it there
  return {
    ready,
    kill,
    async stop() {
      const limit = deadline('the end of the probes', finishMs + SPARE_MS, signal);
      try {
        const [ofTcp, ofConnections, ofIcmp] = await Promise.all([
          tcp.stop(limit),
          connections.stop(limit),
          icmp?.stop(limit),
        ]);
        return assemble(ofTcp, ofConnections, ofIcmp, sampleMs);
      } finally {
        kill();
        signal?.removeEventListener('abort', kill);
      }
    },
  };
}

function flags(values: Record<string, string | number>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, `${value}`]);
}

/** The probe's program has this module's ending: .ts in the source tree, .js in the package. */
function script(name: string): [string, string] {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return [process.execPath, fileURLToPath(new URL(`./${name}.${ending}`, import.meta.url))];
}

function assemble(
  tcp: ProbeReport,
  connections: ProbeReport,
  icmp: ProbeReport | undefined,
  sampleMs: number,
): ProbeResult {
  const each = [...(tcp.result.connections ?? []), ...(connections.result.connections ?? [])];
  const sum = (count: (one: ConnectionResult) => number) =>
    each.reduce((total, one) => total + count(one), 0);
  return {
    connections: {
      opened: sum(({ opened }) => Number(opened)),
      survived: sum(({ survived }) => Number(survived)),
      outOfOrder: sum(({ outOfOrder }) => outOfOrder),
      corrupt: sum(({ corrupt }) => corrupt),
      each,
    },
    outageMs: { tcp: tcp.result.longestGapMs ?? 0, icmp: icmp?.result.longestGapMs ?? null },
    gaps: { tcp: tcp.gaps, icmp: icmp?.gaps ?? [] },
    throughput: mergeThroughput(tcp.rows, connections.rows, sampleMs),
    lateMs: {
      tcp: tcp.result.lateMs,
      connections: connections.result.lateMs,
      icmp: icmp?.result.lateMs ?? null,
    },
  };
}
