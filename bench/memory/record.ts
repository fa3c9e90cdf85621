/**
 * `node bench/memory/record.ts FILE [NAME…]`: moves a guest over and over, and appends what each copy looked like to the
 * strategy as a line of FILE. The tests of the strategy decide these copies again (src/memory/strategy/recorded.jsonl).
 */
import { appendFileSync } from 'node:fs';
import { pathWithSystemDirectories } from '../../src/base/find-program.ts';
import { reasonOf } from '../../src/errors.ts';
import type { LinkShape } from '../../src/lab/network/shaping.ts';
import { enterUserNamespace } from '../../src/lab/network/userns.ts';
import { type MemoryCase, MemoryStand } from './stand.ts';
import { WORKLOADS } from './workloads.ts';

/** Of a pre-copy, ms: short, as a copy that does not end says all it has to say in a few rounds. */
const BUDGET_MS = 10_000;

const LINKS: Readonly<Record<string, LinkShape>> = {
  unlimited: {},
  '1g': { rateMbit: 1000 },
  '400m': { rateMbit: 400 },
  '200m-20ms': { rateMbit: 200, delayMs: 10 },
  '600m-4ms': { rateMbit: 600, delayMs: 2 },
};

const CASES: readonly (MemoryCase & { name: string })[] = Object.entries(LINKS).flatMap(([name, link]) =>
  WORKLOADS.flatMap((workload) =>
    (['auto', 'precopy'] as const).map((strategy) => ({
      ...{ name: `${workload}-${name}-${strategy}`, workload, link, strategy },
    })),
  ),
);

async function main([file, ...names]: readonly string[]): Promise<void> {
  if (file === undefined) throw new Error('node bench/memory/record.ts FILE [NAME…]');
  process.env.PATH = pathWithSystemDirectories(process.env.PATH ?? '');
  await enterUserNamespace();
  const stand = new MemoryStand();
  try {
    for (const { name, ...each } of CASES.filter((one) => names.length === 0 || names.includes(one.name))) {
      try {
        const { trace, ending } = await stand.record(each, BUDGET_MS);
        appendFileSync(file, `${JSON.stringify({ name, ...trace })}\n`);
        process.stderr.write(`${name}: ${ending}, ${trace.samples.length} samples, ${trace.end}\n`);
      } catch (error) {
        process.stderr.write(`${name} FAILED: ${reasonOf(error)}\n`);
      }
    }
  } finally {
    await stand.dispose();
  }
}

await main(process.argv.slice(2));
