/**
 * How memory is moved best: what the guest does, the link, and the strategy. Whether `auto` is about as good as the
 * better of the fixed strategies, whatever guest and link are like.
 */
import type { LinkShape } from '../src/lab/network/shaping.ts';
import type { Bench } from './bench.ts';
import { atLeast, type Cell, type Goal, ratioGoal, type Sample, series } from './harness.ts';
import { type BenchStrategy, MemoryStand } from './memory/stand.ts';
import { ABOUT, WORKLOADS, type Workload } from './memory/workloads.ts';

const LINKS = {
  unlimited: {},
  '1g': { rateMbit: 1000 },
  '200m': { rateMbit: 200, delayMs: 10 },
} as const satisfies Record<string, LinkShape>;
type LinkName = keyof typeof LINKS;

const LINK_NAMES = ['unlimited', '1g', '200m'] as const satisfies readonly LinkName[];
const LINK_ABOUT: Readonly<Record<LinkName, string>> = {
  unlimited: 'no limit',
  '1g': '1 Gbit/s',
  '200m': '200 Mbit/s, 20 ms there and back',
};
const FIXED = ['precopy', 'postcopy'] as const;
const STRATEGIES: readonly BenchStrategy[] = [...FIXED, 'auto'];

const stand = new MemoryStand();
const nameOf = (workload: Workload, link: LinkName, strategy: BenchStrategy) =>
  `${workload}-${link}-${strategy}`;

function cells(): Cell[] {
  return LINK_NAMES.flatMap((link) =>
    WORKLOADS.flatMap((workload) =>
      STRATEGIES.map((strategy) => ({
        name: nameOf(workload, link, strategy),
        what: `${ABOUT[workload]}; ${LINK_ABOUT[link]}; ${strategy}`,
        measure: () => stand.measure({ workload, link: LINKS[link], strategy }),
      })),
    ),
  );
}

/** The cheaper of the fixed strategies, round by round; one that failed costs more than any that did not. */
function better(samples: readonly Sample[], workload: Workload, link: LinkName): (number | null)[] {
  const [a, b] = FIXED.map((strategy) => series(samples, nameOf(workload, link, strategy), 'cost'));
  return (a ?? []).map((cost, round) => {
    const other = b?.[round] ?? null;
    if (cost === null || other === null) return cost ?? other;
    return Math.min(cost, other);
  });
}

function goals(samples: readonly Sample[]): Goal[] {
  const pairs = LINK_NAMES.flatMap((link) => WORKLOADS.map((workload) => ({ link, workload })));
  const measured = pairs.filter(({ link, workload }) =>
    samples.some(({ cell }) => cell === nameOf(workload, link, 'auto')),
  );
  const auto = ({ link, workload }: (typeof pairs)[number]) =>
    samples.filter(({ cell }) => cell === nameOf(workload, link, 'auto'));
  const kept = measured.flatMap(auto);
  const whole = kept.filter(({ measurement }) => measurement !== undefined).length;
  return [
    ...measured.map(({ link, workload }) =>
      ratioGoal(
        `${workload}-${link}: cost of auto by the better one`,
        series(samples, nameOf(workload, link, 'auto'), 'cost'),
        better(samples, workload, link),
        1.15,
      ),
    ),
    atLeast(
      'share of the migrations by auto that went well',
      kept.length === 0 ? null : whole / kept.length,
      1,
    ),
  ];
}

export const memory: Bench = {
  name: 'memory',
  about: 'pre-copy, post-copy and auto, by what the guest does and by the link',
  cells: cells(),
  columns: {
    cost: 'cost',
    totalMs: 'total ms',
    blackoutMs: 'blackout ms',
    outageMs: 'TCP outage ms',
    lostMs: 'work lost ms',
    residualMs: 'residual ms',
    megabytes: 'MiB sent',
    done: 'work done',
    degradedMs: 'degraded ms',
    switched: 'post-copy',
  },
  goals,
  runs: 3,
  finish: () => stand.dispose(),
};
