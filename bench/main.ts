/** `npm run bench -- NAME [--runs N] [--cells A,B] [--json]`: measurements against peers and against our own goals. */
import { join } from 'node:path';
import { pathWithSystemDirectories } from '../src/base/find-program.ts';
import { ShadowferryError, toShadowferryError } from '../src/errors.ts';
import { enterUserNamespace } from '../src/lab/network/userns.ts';
import { type Bench, parseOptions, runBench } from './bench.ts';
import { daemon } from './daemon.ts';
import { memory } from './memory.ts';
import { outage } from './outage.ts';
import { passive } from './passive.ts';
import { pool } from './pool.ts';
import { several } from './several.ts';
import { swap } from './swap.ts';

const BENCHES: readonly Bench[] = [outage, several, passive, swap, daemon, pool, memory];

async function main([name, ...args]: readonly string[]): Promise<void> {
  process.env.PATH = pathWithSystemDirectories(process.env.PATH ?? '');
  if (name === undefined || name === '--help') {
    const lines = BENCHES.map((bench) => `${bench.name}: ${bench.about}`);
    process.stdout.write(`${lines.join('\n')}\n\nnpm run bench -- NAME [--runs N] [--cells A,B] [--json]\n`);
    return;
  }
  const bench = BENCHES.find((each) => each.name === name);
  if (bench === undefined) {
    const names = BENCHES.map((each) => each.name).join(', ');
    throw new ShadowferryError('INPUT_FIELD', {
      field: 'bench',
      problem: `there is no "${name}"; use one of ${names}`,
    });
  }
  const options = parseOptions(
    args,
    bench.cells.map((cell) => cell.name),
    bench.runs,
  );
  await enterUserNamespace();
  await runBench(bench, options, join(import.meta.dirname, 'results'));
}

try {
  await main(process.argv.slice(2));
} catch (thrown) {
  const error = toShadowferryError(thrown);
  if (process.argv.includes('--json'))
    process.stdout.write(`${JSON.stringify({ type: 'error', ...error.toJSON() })}\n`);
  else process.stderr.write(`bench: ${error.message} (${error.code})\n  ${error.fix}\n`);
  process.exitCode = error.exitCode;
}
