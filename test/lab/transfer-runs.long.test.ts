/** Many versioned migrations of a guest that writes memory, each with other cuts of the line and other damage of the stores. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { probeQemu } from '../../src/hypervisor/qemu/capabilities.ts';
import { ensureQemuTree } from '../../src/lab/qemu-tree/tree.ts';
import { runOnce } from '../../src/lab/transfer/runs.ts';
import { TwoHosts } from '../../src/lab/transfer/two-hosts.ts';
import { CACHE } from './migrating.ts';

const RUNS = 70;
const DATA_MIB = 10;
const RUN_MS = 60_000;

/** A seed that failed goes here to do it again. */
const FIRST_SEED = 1_000;

const MACHINE = 'pc-q35-7.2';
const WRITER = { bytes: 2 ** 20, pace: 0x2000 };

const options = { cacheDir: CACHE, log: () => {} };

async function own() {
  const binary = 'qemu-system-x86_64';
  const { version } = await probeQemu(binary, { signal: AbortSignal.timeout(RUN_MS) });
  return { binary, ...version };
}

async function tree(name: '10' | '11') {
  return { binary: (await ensureQemuTree(name, options)).binary, major: Number(name), minor: 0 };
}

describe('the memory after many versioned migrations', { timeout: 3_600_000 }, () => {
  const pairs = [
    ['QEMU of this machine', async () => [await own(), await own()] as const],
    ['QEMU 10 and this one', async () => [await tree('10'), await own()] as const],
    ['QEMU 11 and 10', async () => [await tree('11'), await tree('10')] as const],
  ] as const;
  for (const [name, find] of pairs) {
    it(`is the same to the last bit: ${name}`, async () => {
      const versions = await find();
      const [first, second] = versions;
      const binaries = [first.binary, second.binary] as const;
      const start = { binaries, memoryMiB: 96, dataMiB: DATA_MIB, writer: WRITER, machine: MACHINE };
      const hosts = await TwoHosts.start(start, AbortSignal.timeout(RUN_MS));
      const [damaged, known]: number[][] = [[], []];
      try {
        for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
          const signal = AbortSignal.timeout(RUN_MS);
          const ran = await runOnce(seed, { hosts, dataMiB: DATA_MIB, versions, running: true, signal });
          assert.deepEqual(ran.differing, [], JSON.stringify(ran));
          if (ran.poison === 'pages' && ran.known) damaged?.push(ran.damaged);
          if (ran.known) known?.push(seed);
        }
      } finally {
        await hosts.end();
      }
      assert.ok((known?.length ?? 0) > RUNS / 3, 'stores were used');
      assert.ok(
        damaged?.every((pages) => pages > 0),
        'damaged pages were found',
      );
    });
  }
});
