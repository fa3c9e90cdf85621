/** The short form of the crash matrix (docs/faults.md), and that it can fail. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { findProgram } from '../../src/base/find-program.ts';
import { ApiDriver } from '../../src/lab/faults/api-driver.ts';
import { allCases, chosen } from '../../src/lab/faults/cases.ts';
import { type MatrixOptions, playMatrix } from '../../src/lab/faults/matrix.ts';
import { caseLine, sumLine } from '../../src/lab/faults/report.ts';
import { leaveTap, runTwice } from '../../src/lab/faults/sabotage.ts';
import { ensureGuestImage, type GuestImage } from '../../src/lab/image/image.ts';

const skip = findProgram('etcd') === undefined && 'there is no etcd on this machine';
const VM = 'web1';
const CASES = allCases({ precopy: false });

describe('the crash matrix', { skip, timeout: 1_800_000 }, () => {
  let image: GuestImage;
  before(async () => {
    image = await ensureGuestImage({ cacheDir: cacheDirectory(), log: () => {} });
  });
  const options = (more: Partial<MatrixOptions> = {}): MatrixOptions => ({
    driver: (lab) => new ApiDriver(lab, { image, vm: VM }),
    ...{ vm: VM, log: console.log },
    ...more,
  });

  test('whatever is killed, cut or filled: one copy runs, and nothing is left over', async () => {
    const short = CASES.filter((each) => each.short);
    const results = await playMatrix(short, options(), (result) => console.log(caseLine(result)));
    const lost = results.filter(({ survived }) => !survived).map(caseLine);
    assert.deepEqual(lost, [], sumLine(results));
  });

  test('a copy that runs twice, and a tap that is left, are seen', async () => {
    const [afterCommit] = chosen(CASES, ['attach/link-2s']);
    const [atAll] = chosen(CASES, ['reserve/link-2s']);
    assert.ok(afterCommit && atAll);
    const twice = await playMatrix([afterCommit], options({ sabotage: runTwice, settledMs: 1000 }), () => {});
    assert.match(twice[0]?.problems.join('\n') ?? '', /two copies ran at once/);
    const left = await playMatrix([atAll], options({ sabotage: leaveTap, settledMs: 1000 }), () => {});
    assert.match(left[0]?.problems.join('\n') ?? '', /tap sfd00000000 is left on a/);
  });
});
