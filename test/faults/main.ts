/**
 * `npm run test:faults [-- --short] [--json] [--list] [--evidence DIRECTORY] [filter…]`: the crash matrix. A filter is a
 * part of a case's name, such as `copy/` or `link-cut`.
 */
import { parseArgs } from 'node:util';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import { pathWithSystemDirectories } from '../../src/base/find-program.ts';
import { ShadowferryError, toShadowferryError } from '../../src/errors.ts';
import { probeQemu } from '../../src/hypervisor/qemu/capabilities.ts';
import { ApiDriver } from '../../src/lab/faults/api-driver.ts';
import { allCases, chosen, FAULTS } from '../../src/lab/faults/cases.ts';
import { playMatrix } from '../../src/lab/faults/matrix.ts';
import { caseLine, jsonLine, sumLine, table } from '../../src/lab/faults/report.ts';
import { ensureGuestImage } from '../../src/lab/image/image.ts';
import { enterUserNamespace } from '../../src/lab/network/userns.ts';
import { precopyFault } from '../../src/memory/strategy/choose.ts';

const VM = 'web1';
const QEMU = 'qemu-system-x86_64';

async function main(args: readonly string[]): Promise<number> {
  process.env.PATH = pathWithSystemDirectories(process.env.PATH ?? '');
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      short: { type: 'boolean' },
      json: { type: 'boolean' },
      list: { type: 'boolean' },
      evidence: { type: 'string' },
    },
  });
  const print = (line: string) => process.stdout.write(`${line}\n`);
  const say = values.json ? (line: string) => process.stderr.write(`${line}\n`) : print;
  const { version } = await probeQemu(QEMU, { signal: deadline('a look at QEMU', 30_000) });
  const noPrecopy = precopyFault('tcg', version);
  if (noPrecopy !== undefined) say(`without pre-copy: ${noPrecopy}`);
  const all = allCases({ precopy: noPrecopy === undefined });
  const cases = chosen(values.short ? all.filter((each) => each.short) : all, positionals);
  if (cases.length === 0) {
    const problem = `no case has ${positionals.join(' or ')} in its name; --list names them`;
    throw new ShadowferryError('INPUT_FIELD', { field: 'filter', problem });
  }
  if (values.list) {
    for (const { id, fault } of cases) print(`${id}  ${FAULTS[fault]}`);
    return 0;
  }
  await enterUserNamespace();
  const image = await ensureGuestImage({ cacheDir: cacheDirectory(), log: say });
  const results = await playMatrix(
    cases,
    {
      driver: (lab) => new ApiDriver(lab, { image, vm: VM }),
      ...{ vm: VM, log: say, evidence: values.evidence },
    },
    (result) => say(caseLine(result)),
  );
  for (const line of table(results)) say(line);
  say(sumLine(results));
  if (values.json) print(jsonLine(results));
  return results.every(({ survived }) => survived) ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  const error = toShadowferryError(thrown);
  if (process.argv.includes('--json'))
    process.stdout.write(`${JSON.stringify({ type: 'error', ...error.toJSON() })}\n`);
  else process.stderr.write(`test:faults: ${error.message} (${error.code})\n  ${error.fix}\n`);
  process.exitCode = error.exitCode;
}
