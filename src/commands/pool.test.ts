import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const cli = `${import.meta.dirname}/../cli.ts`;
const directory = mkdtempSync(join(tmpdir(), 'shadowferry-pool-cli-'));
after(() => rmSync(directory, { recursive: true }));

function pool(...args: string[]) {
  return spawnSync(process.execPath, [cli, 'pool', ...args], { encoding: 'utf8' });
}

/** The JSON lines of a command that must succeed. */
function json(...args: string[]) {
  const { status, stdout, stderr } = pool(...args, '--json');
  assert.equal(status, 0, stdout + stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('a pool is made, used, looked at, and reorganised for what did not fit', () => {
  const path = join(directory, 'pool');
  json('create', path, '--size', '20M', '--volumes', '16', '--sparse');
  for (const [name, size] of [
    ['a', '5M'],
    ['b', '2M'],
    ['c', '4M'],
    ['d', '7M'],
  ] as const)
    json('allocate', path, name, size);
  json('delete', path, 'a');
  json('delete', path, 'c');
  const refused = pool('allocate', path, 'big', '8M', '--json');
  assert.equal(refused.status, 3);
  assert.equal(JSON.parse(refused.stdout).code, 'POOL_NO_ROOM');
  const [before] = json('report', path);
  const svg = join(directory, 'plan.svg');
  const [planned] = json('reorganize', path, '--for', '8M', '--plan', '--svg', svg);
  assert.equal(planned.plan.bytes, 2 * 1024 ** 2);
  assert.match(readFileSync(svg, 'utf8'), /^<svg.*b goes here: 2 MiB.*<\/svg>\n$/s);
  assert.deepEqual(json('report', path)[0], before, 'a plan moves nothing');
  const lines = json('reorganize', path, '--for', '8M');
  assert.ok(lines.some(({ progress }) => progress?.volume === 'b'));
  assert.equal(lines.at(-1).report.largest >= 8 * 1024 ** 2, true);
  const [{ volume }] = json('allocate', path, 'big', '8M');
  const [shown] = json('show', path, 'big');
  assert.deepEqual(shown.volume, volume);
  assert.deepEqual([shown.blockdev[1].offset, shown.blockdev[1].size], [volume.offset, volume.size]);
  assert.match(pool('report', path).stdout, /3 volumes; .*fragmentation .*free extents by size.*█/s);
  assert.equal(pool('reorganize', path).status, 2, 'what is wanted must be said');
});
