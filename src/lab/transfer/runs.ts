/** One versioned migration after another, each with another workload, line and state of the stores. */
import { stop } from '../../hypervisor/qmp/commands.ts';
import { precopyFault } from '../../memory/strategy/choose.ts';
import { differingPages } from './bare-qemu.ts';
import { Chance } from './chance.ts';
import { POISONS, type Poison, poison } from './poison.ts';
import type { TwoHosts } from './two-hosts.ts';

/** Stores and memories of a VM in these runs. */
const VM = 'web1';

export interface Ran {
  seed: number;
  mode: 'precopy' | 'postcopy';
  poison: Poison;
  cuts: number;
  /** Pages that differed afterwards; there must be none. */
  differing: number[];
  known: boolean;
  damaged: number;
  sentAgain: number;
  wireBytes: number;
  streamBytes: number;
}

export interface RunsOptions {
  hosts: TwoHosts;
  /** MiB of data of its own that the VM has. */
  dataMiB: number;
  /** Versions of the two QEMUs, for what their emulators do. */
  versions: readonly { major: number; minor: number }[];
  /** Whether the guest runs, and writes; else its memory is changed from outside between two runs. */
  running: boolean;
  signal: AbortSignal;
}

/** Moves the VM to its other host. @throws what the move throws, which no cut of these may cause */
export async function runOnce(seed: number, options: RunsOptions): Promise<Ran> {
  const { hosts, signal } = options;
  const chance = new Chance(seed);
  const mode = chance.percent(50) ? 'precopy' : 'postcopy';
  const kind = chance.pick<Poison>([...POISONS, 'none', 'none']);
  const faulty = options.versions.some((version) => precopyFault('tcg', version) !== undefined);
  if (options.running && mode === 'precopy' && faulty) await stop(hosts.vm.monitor);
  for (let n = chance.below(4); n > 0; n--) hosts.write(chance.below(options.dataMiB));
  poison(kind, hosts.stores[hosts.there], hosts.stores[hosts.here], VM, chance);
  const cuts = chance.percent(50) ? 1 + chance.below(3) : 0;
  const { left, arrived, source, destination } = await hosts.move({
    ...{ mode, signal, connections: 1 + chance.below(3), zstd: chance.percent(30) },
    meanwhile: (line) => {
      for (let n = 0; n < cuts; n++) setTimeout(() => line.cut(false), chance.below(600));
    },
  });
  const differing = differingPages(left, arrived);
  if (options.running) await hosts.goOn(signal);
  else await hosts.leave();
  const { streamBytes, wireBytes, sentAgain, base } = source;
  const { damaged } = destination;
  return {
    ...{ seed, mode, poison: kind, cuts, differing, known: base.known, damaged },
    sentAgain,
    wireBytes,
    streamBytes,
  };
}
