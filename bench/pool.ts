/** What a pool's reorganisation moves for one free extent, beside other ways; and how long its planning takes. */
import { figuresOf } from '../src/storage/pool/figures.ts';
import { planImprovement } from '../src/storage/pool/plan/improve.ts';
import { afterPlan, gapsOf, type Piece, type Space } from '../src/storage/pool/plan/plan.ts';
import { planExtent } from '../src/storage/pool/plan/window.ts';
import type { Bench } from './bench.ts';
import { type Goal, type Measurement, medianGoal, type Sample, series } from './harness.ts';
import { firstFit, leftJustified, type Outcome, randomChoice } from './pool/peers.ts';
import { trace } from './pool/trace.ts';

const GIB = 1024 ** 3;
const POOLS = 120;
const OPERATIONS = 100_000;
/** Volumes of the pool whose planning is timed. */
const MANY = 100_000;

const OURS = 'ours';
const PLANNING = `plan-${MANY}`;

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A pool that is in question: the extent is not there, and the free space would do. */
interface Case {
  space: Space;
  /** The size that 90 % of the requests need. */
  size: number;
  facts: Record<string, number>;
  random: () => number;
}

/** Pools in which the extent was always there, by tenths of how full they were to be. */
const passedOver: number[] = Array.from({ length: 10 }, () => 0);

function* casesOf(): Generator<Case> {
  for (let seed = 1; ; seed += 1) {
    const random = seeded(seed);
    const fill = 0.1 + 0.85 * random();
    // from 40 to 2000 volumes of mean size would fill it
    const poolSize = Math.ceil(40 * 50 ** random()) * 19 * GIB;
    const traced = trace({ random, fill, size: poolSize, operations: OPERATIONS });
    if (traced === undefined) {
      const tenth = Math.floor(fill * 10);
      passedOver[tenth] = (passedOver[tenth] ?? 0) + 1;
      continue;
    }
    const { space, size, ...rest } = traced;
    const figures = figuresOf([...gapsOf(space)].map((gap) => ({ size: gap })));
    const full = 1 - figures.free / poolSize;
    const facts = { seed, fill, full, poolSize, volumes: space.pieces.length, size, ...figures, ...rest };
    yield { space, size, random, facts };
  }
}

const generator = casesOf();
const cases: Case[] = [];

/** The pool of a round: the same for all ways. */
function caseOf(round: number): Case {
  while (cases.length <= round) {
    const { value } = generator.next();
    if (value !== undefined) cases.push(value);
  }
  const found = cases[round];
  if (found === undefined) throw new RangeError(`no pool ${round}`);
  return found;
}

function ours({ space, size }: Case): Outcome {
  const found = planExtent(space, size, leftJustified(space, size, 'end').bytes);
  if (!found.found) return { bytes: 0, moves: 0, made: false };
  const { moves, bytes } = found.plan;
  const after = gapsOf(afterPlan(space, moves)); // throws when a step is not valid
  return { bytes, moves: moves.length, made: after.some((gap) => gap >= size) };
}

/** A cell that takes one pool after the other. */
function cell(name: string, what: string, act: (pool: Case) => Outcome) {
  let round = 0;
  const measure = async (): Promise<Measurement> => {
    const pool = caseOf(round);
    round += 1;
    const full = leftJustified(pool.space, pool.size, 'end');
    const { bytes, moves, made } = act(pool);
    const metrics = {
      movedGiB: made ? bytes / GIB : null,
      ofFull: made ? bytes / full.bytes : null,
      moves: made ? moves : null,
      failed: made || !full.made ? 0 : 1,
    };
    return { metrics, flags: [], raw: { ...pool.facts, passedOver: [...passedOver] } };
  };
  return { name, what, measure };
}

function manyVolumes(): Space {
  const random = seeded(99);
  let at = 0;
  const pieces = Array.from({ length: MANY }, (_, index): Piece => {
    const offset = at + (random() < 0.4 ? Math.ceil(random() * 40) : 0);
    const size = Math.ceil(random() * 100);
    at = offset + size;
    return { id: index + 1, offset, size, mobility: 'free' };
  });
  return { start: 0, end: at, pieces };
}

const many = manyVolumes();

async function planning(): Promise<Measurement> {
  const time = (act: () => unknown) => {
    const [from, cpu] = [performance.now(), process.cpuUsage()];
    act();
    const { user, system } = process.cpuUsage(cpu);
    return { ms: performance.now() - from, cpuMs: (user + system) / 1000 };
  };
  const extents = [100, 1000, 10_000, 100_000].map((size) => time(() => planExtent(many, size)));
  const all = [...extents, time(() => planImprovement(many, 100_000))];
  const slowest = Math.max(...all.map(({ ms }) => ms));
  const metrics = { planMs: slowest, cpuMs: Math.max(...all.map(({ cpuMs }) => cpuMs)) };
  return { metrics, flags: [], raw: all };
}

function goals(samples: readonly Sample[]): Goal[] {
  const failed = series(samples, OURS, 'failed').filter((value) => value !== null);
  const sum = failed.length === 0 ? null : failed.reduce((a, b) => a + b, 0);
  return [
    medianGoal('ours: moved bytes of full compaction’s', series(samples, OURS, 'ofFull'), 0.25),
    { id: 'ours: fails where full compaction does not', value: sum, op: '<=', goal: 0, met: sum === 0 },
    medianGoal(`${PLANNING}: the slowest plan, ms`, series(samples, PLANNING, 'planMs'), 1000),
  ];
}

export const pool: Bench = {
  name: 'pool',
  about: 'one free extent for 90 % of the requests: what a reorganisation moves, beside other ways',
  runs: POOLS,
  cells: [
    cell(OURS, 'pool reorganize --for', ours),
    cell('full', 'full left-justified compaction', ({ space, size }) => leftJustified(space, size, 'end')),
    cell('full-until', 'the same, ended when the extent is there', ({ space, size }) =>
      leftJustified(space, size, 'enough'),
    ),
    cell('first-fit', 'first-fit compaction from the top, ended so', ({ space, size }) =>
      firstFit(space, size),
    ),
    cell('random', 'random volumes to random gaps, within the bytes of full', ({ space, size, random }) =>
      randomChoice(space, size, leftJustified(space, size, 'end').bytes, random),
    ),
    {
      name: PLANNING,
      what: `plans for ${MANY} volumes: sizes of 2 to 2000 volumes, and a budget`,
      measure: planning,
    },
  ],
  columns: {
    movedGiB: 'moved GiB',
    ofFull: 'of full',
    moves: 'moves',
    failed: 'failed',
    planMs: 'plan ms',
    cpuMs: 'cpu ms',
  },
  goals,
};
